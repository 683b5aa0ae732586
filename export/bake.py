"""Bakes a style or a label map into a bundle: a bundle of its own, whose `translate` takes no style any more."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.errors import UnsupportedError
from i2i_rt.spec import StageSpec
from i2i_rt.stages.baked import baked
from i2i_rt.stages.table import BAKED, load_stages


def bake(bundle: Bundle, output: str | Path, constants: Mapping[str, np.ndarray], note: str) -> Bundle:
    """Writes a bundle whose `translate` has some of its inputs as constants.

    Args:
        bundle: the model.
        output: the new bundle's folder.
        constants: inputs of `translate` by name, each with one entry on its first axis: `style` `[1, S]`,
            `labels` and `edges` `[1, H, W]`.
        note: what was baked in, in words.

    Raises:
        UnsupportedError: where `translate` has no such input, or nothing would be left to give it.
    """
    stage = load_stages(bundle)["translate"]
    names = [tensor.name for tensor in stage.spec.inputs]
    for tensor in stage.spec.inputs:
        if tensor.name in constants:
            tensor.check(constants[tensor.name])
    for name in constants:
        if name not in names:
            raise UnsupportedError(f"{bundle.path} has no {name} to bake in; it takes {', '.join(names)}")
    left: StageSpec = baked(stage, {name: torch.from_numpy(array) for name, array in constants.items()}).spec
    if not left.inputs:
        raise UnsupportedError(
            f"with {' and '.join(constants)} baked in, {bundle.path} would give one and the same picture; "
            "a label map can be baked into models that take a style too"
        )
    source = bundle.provenance
    return Bundle.create(
        output,
        system=bundle.system,
        networks=bundle.networks,
        stages={"translate": left},
        weights={**bundle.weights(), **{BAKED + name: array for name, array in constants.items()}},
        provenance=Provenance(source.source, source.sha256, (*source.notes, note)),
        preprocessing=bundle.preprocessing,
        style=None if "style" in constants else bundle.style,
        labels=None if "labels" in constants else bundle.labels,
    )
