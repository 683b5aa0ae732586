"""More rows than a model takes at once are asked for in parts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2i_rt.serving.backend import bls
from tests.fakes import StyledSession, styled_bundle


def test_rows_beyond_the_limit_are_asked_for_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = StyledSession(domains=True)
    asked: list[int] = []

    def ask(model: str, inputs: dict[str, np.ndarray], outputs: list[str]) -> Any:
        assert model == "name-style_from_noise"
        asked.append(len(inputs["noise"]))
        return session.run("style_from_noise", inputs)

    monkeypatch.setattr(bls, "ask", ask)
    noise = np.arange(22, dtype=np.float32).reshape(11, 2)
    inputs = {"noise": noise, "domain": np.arange(11) % 3}
    server = bls.BlsSession("name", styled_bundle(tmp_path / "bundle", session), "fp32", rows=4)
    assert np.array_equal(
        server.run("style_from_noise", inputs)["style"], session.run("style_from_noise", inputs)["style"]
    )
    assert asked == [4, 4, 3]
