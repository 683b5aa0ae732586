"""Names the layer that breaks a network in half precision, from a run of it in PyTorch beside one in float32."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from i2i_rt.stages.base import Stage

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
NAMES = {"fp16": "float16", "bf16": "bfloat16"}


def explain(stage: Stage, inputs: Mapping[str, np.ndarray], precision: str) -> str:
    """Says in a sentence where a stage breaks in "fp16" or "bf16".

    That is the first layer whose values in float32 are beyond the type's range; or else the first that gives NaN or
    infinite values; or else the one that adds most to the error. Layers are named as PyTorch names their modules.

    Args:
        stage: in float32, on the CPU; it is in half precision afterwards.
        inputs: as the stage's graph takes them.
        precision: "fp16" or "bf16".
    """
    tensors = [torch.from_numpy(np.ascontiguousarray(inputs[tensor.name])) for tensor in stage.spec.inputs]
    exact = _outputs(stage.module, tensors)
    largest = torch.finfo(DTYPES[precision]).max
    for name, output in exact:
        value = float(output.abs().max())
        if value > largest:
            return f"{NAMES[precision]} leaves its range in {name}: largest value {value:.0f}"
    before, steepest, where = 0.0, -1.0, ("", 0.0, 0.0)
    halved = _outputs(stage.module.to(DTYPES[precision]), tensors)
    for (name, answer), (_, output) in zip(exact, halved, strict=True):
        if not bool(output.isfinite().all()):
            return f"{NAMES[precision]} gives NaN or infinite values first in {name}"
        error = float((output - answer).norm() / answer.norm().clamp(min=1e-12))
        if error - before > steepest:
            steepest, where = error - before, (name, before, error)
        before = error
    name, low, high = where
    return f"{NAMES[precision]} loses most in {name}: the error there grows from {low:.1%} to {high:.1%}"


def _outputs(network: nn.Module, inputs: list[Tensor]) -> list[tuple[str, Tensor]]:
    """Runs a network and gives what each of its modules gave, in float32, in the order in which they finished.

    The network itself, which finishes last, has no name of its own.
    """
    found: list[tuple[str, Tensor]] = []
    hooks = []
    for name, module in network.named_modules():

        def keep(module: nn.Module, taken: Any, given: Any, name: str = name) -> None:
            if isinstance(given, Tensor) and given.is_floating_point():
                found.append((name or "the last step", given.float()))

        hooks.append(module.register_forward_hook(keep))
    with torch.inference_mode():
        network(*inputs)
    for hook in hooks:
        hook.remove()
    return found
