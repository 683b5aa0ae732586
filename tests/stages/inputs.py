"""Inputs for the tests of a family's stages."""

from typing import Any

import numpy as np

from i2i_rt.stages.base import Stage


def inputs_of(stage: Stage, height: int, width: int, batch: int, domains: int = 1) -> dict[str, np.ndarray]:
    """Draws what a stage takes: frames, domains below `domains`, and vectors from N(0, 1)."""
    random = np.random.default_rng(0)
    lengths = {"N": batch, "H": height, "W": width}
    inputs: dict[str, Any] = {}
    for spec in stage.spec.inputs:
        shape = [axis.size or lengths[axis.name] for axis in spec.axes]
        if spec.dtype == "float32":
            inputs[spec.name] = random.standard_normal(shape, np.float32)
        else:
            high = 256 if spec.dtype == "uint8" else domains
            inputs[spec.name] = random.integers(0, high, shape, spec.dtype)
    return inputs
