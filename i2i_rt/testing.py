"""Small stand-ins for tests and benchmarks' gates: a session without a network, a bundle with a tiny one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.runtime.session import Session
from i2i_rt.spec import StageSpec, frames_spec


class FakeSession(Session):
    """Applies a function to frames; by default inverts them, which is exact and its own inverse."""

    def __init__(
        self, translate: Callable[[np.ndarray], np.ndarray] = lambda frames: 255 - frames, *, multiple: int = 4
    ) -> None:
        self.backend, self.precision, self.device = "fake", "fp32", "cpu"
        self.calls: list[tuple[int, ...]] = []
        self._translate = translate
        self.stages = {
            "translate": StageSpec(
                "translate", (frames_spec("frames", multiple, 1),), (frames_spec("translated", multiple, 1),)
            )
        }

    def _run(self, stage: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.calls.append(inputs["frames"].shape)
        return {"translated": self._translate(inputs["frames"])}


def tiny_bundle(path: Path, *, system: str = "cut", **config: Any) -> Bundle:
    """Writes a bundle with a ResNet generator of width 8 and 2 blocks, drawn with a fixed seed."""
    import torch

    from i2i_rt.models import table
    from i2i_rt.models.resnet import ResnetGenerator, ResnetGeneratorConfig
    from i2i_rt.stages.table import stages_of

    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = ResnetGenerator(ResnetGeneratorConfig(**{"width": 8, "blocks": 2, **config}))
    return Bundle.create(
        path,
        system=system,
        networks={"generator": table.describe(generator)},
        stages={name: stage.spec for name, stage in stages_of(system, {"generator": generator}).items()},
        weights=table.weights_of({"generator": generator}),
        provenance=Provenance("drawn with seed 0", sha256=""),
    )
