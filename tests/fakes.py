"""Sessions of systems with styles and of label maps whose answers are known, with bundles that describe them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.runtime.session import Session
from i2i_rt.spec import Axis, LabelInfo, StageSpec, StyleInfo, TensorSpec, frames_spec
from i2i_rt.translator import Translator

DOMAINS = ("cat", "dog", "wild")
LABELS = LabelInfo(("sky", "road", "car"), ((70, 130, 180), (128, 64, 128), (0, 0, 142)), edges=True)
STYLE_SIZE, NOISE_SIZE = 3, 2
MULTIPLE = 4


class KnownSession(Session):
    """Has stages in Python.

    Attributes:
        calls: the stage and its inputs, of each run.
    """

    def __init__(self, *stages: StageSpec) -> None:
        self.backend, self.precision, self.device = "fake", "fp32", "cpu"
        self.stages = {stage.name: stage for stage in stages}
        self.calls: list[tuple[str, dict[str, np.ndarray]]] = []

    def _run(self, stage: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.calls.append((stage, dict(inputs)))
        return getattr(self, f"_{stage}")(**inputs)  # type: ignore[no-any-return]

    def count(self, stage: str) -> int:
        return sum(name == stage for name, _ in self.calls)


class StyledSession(KnownSession):
    """Paints frames in the colour that the style is; the style of a picture is its mean colour, moved by the domain."""

    def __init__(self, *, domains: bool = False, fixed: tuple[int, int] | None = None) -> None:
        code = TensorSpec("style", "float32", (Axis("N"), Axis("style", size=STYLE_SIZE)))
        noise = TensorSpec("noise", "float32", (Axis("N"), Axis("noise", size=NOISE_SIZE)))
        domain = (TensorSpec("domain", "int64", (Axis("N"),)),) if domains else ()
        super().__init__(
            StageSpec("translate", (_frames("frames", fixed), code), (_frames("translated", fixed),)),
            StageSpec("style_from_image", (_frames("reference", (8, 8)), *domain), (code,)),
            StageSpec("style_from_noise", (noise, *domain), (code,)),
        )

    def _translate(self, frames: np.ndarray, style: np.ndarray) -> dict[str, np.ndarray]:
        painted = np.broadcast_to(style[:, None, None].clip(0, 255), frames.shape).round().astype(np.uint8)
        return {"translated": painted}

    def _style_from_image(self, reference: np.ndarray, domain: np.ndarray | None = None) -> dict[str, np.ndarray]:
        return {"style": _moved(reference.mean(axis=(1, 2)).astype(np.float32), domain)}

    def _style_from_noise(self, noise: np.ndarray, domain: np.ndarray | None = None) -> dict[str, np.ndarray]:
        return {"style": _moved(100 + 10 * noise[:, [0, 1, 0]], domain)}


class LabelSession(KnownSession):
    """Gives 10 times the label as red, edges as green."""

    def __init__(self) -> None:
        axes = (Axis("N"), Axis("H", multiple=MULTIPLE), Axis("W", multiple=MULTIPLE))
        inputs = tuple(TensorSpec(name, "uint8", axes) for name in ("labels", "edges"))
        super().__init__(StageSpec("translate", inputs, (_frames("translated", None),)))

    def _translate(self, labels: np.ndarray, edges: np.ndarray) -> dict[str, np.ndarray]:
        return {"translated": np.stack((labels * 10, edges * 255, labels * 0), axis=-1)}


def styled_bundle(path: Path, session: Session, *, style: StyleInfo | None = None) -> Bundle:
    domains = DOMAINS if "domain" in str(session.stages) else ()
    return _bundle(path, session, style=style or StyleInfo("network", domains))


def label_bundle(path: Path, session: Session) -> Bundle:
    return _bundle(path, session, labels=LABELS)


def stand_in(monkeypatch: pytest.MonkeyPatch, session: Session) -> None:
    """Lets every bundle be run by `session`."""

    def load(path: str | Path, **options: Any) -> Translator:
        return Translator(session, "a stand-in", Bundle.open(path))

    monkeypatch.setattr(Translator, "load", load)


def _bundle(path: Path, session: Session, **description: Any) -> Bundle:
    return Bundle.create(
        path,
        system="known",
        networks={},
        stages=session.stages,
        weights={"network.weight": np.frombuffer(path.name.encode(), np.uint8)},
        provenance=Provenance("Python", sha256=""),
        preprocessing={},
        **description,
    )


def _frames(name: str, fixed: tuple[int, int] | None) -> TensorSpec:
    if fixed is None:
        return frames_spec(name, MULTIPLE, 1)
    return TensorSpec(name, "uint8", (Axis("N"), Axis("H", size=fixed[0]), Axis("W", size=fixed[1]), Axis("C", size=3)))


def _moved(codes: np.ndarray, domain: np.ndarray | None) -> np.ndarray:
    return codes if domain is None else codes + 20 * domain[:, None].astype(np.float32)
