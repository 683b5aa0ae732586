"""`i2i-rt bench serving`: mistakes are sentences, and known before a server is started."""

from pathlib import Path

import pytest

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main


def test_mistakes_are_sentences(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for words, said in (
        (["nowhere"], "nowhere"),
        ([str(bundle.path), "--size", "large"], "--size is 'large'"),
        ([str(bundle.path), "-o", str(tmp_path / "file")], "is a file; name a folder for the results"),
        ([str(bundle.path)], "has no verified artifact that this machine can run without torch"),
    ):
        assert main(["bench", "serving", *words]) == 2
        assert said in capsys.readouterr().err
