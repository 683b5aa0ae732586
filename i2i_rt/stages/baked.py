"""Stages with a style or a label map baked in: constants that no caller gives any more."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from i2i_rt.spec import StageSpec, TensorSpec
from i2i_rt.stages.base import Stage


class Constant(nn.Module):
    """A stage's module that is given constants; they keep their dtype when the networks are halved."""

    def __init__(self, module: nn.Module, constants: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.module = module
        for name, constant in constants.items():
            # not a parameter: half precision would round it, and the stage takes it as it is
            self.register_buffer(f"constant_{name}", constant, persistent=False)
        self.constants = tuple(constants)

    def constant(self, name: str) -> Tensor:
        value: Tensor = getattr(self, f"constant_{name}")
        return value

    def _apply(self, fn: object, recurse: bool = True) -> "Constant":
        kept = {name: self.constant(name).dtype for name in self.constants}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, dtype in kept.items():
            setattr(self, f"constant_{name}", self.constant(name).to(dtype))
        return self


class Baked(Constant):
    """A stage's module some of whose inputs are constants, each `[1, …]`, that broadcast over the frames."""

    def __init__(self, stage: Stage, constants: Mapping[str, Tensor]) -> None:
        super().__init__(stage.module, constants)
        self.names = tuple(tensor.name for tensor in stage.spec.inputs)

    def forward(self, *given: Tensor) -> Tensor:
        rest = iter(given)
        inputs = [self.constant(name) if name in self.constants else next(rest) for name in self.names]
        result: Tensor = self.module(*inputs)
        return result


def baked(stage: Stage, constants: Mapping[str, Tensor]) -> Stage:
    """Gives the stage without the inputs that are constants; a baked label map fixes the height and the width."""
    sizes: dict[str, int] = {}
    for tensor in stage.spec.inputs:
        if tensor.name in constants:
            sizes |= dict(zip((axis.name for axis in tensor.axes[1:]), constants[tensor.name].shape[1:], strict=True))

    def fixed(tensor: TensorSpec) -> TensorSpec:
        axes = (replace(a, size=sizes[a.name]) if a.name in sizes and a.size is None else a for a in tensor.axes)
        return replace(tensor, axes=tuple(axes))

    inputs = tuple(fixed(tensor) for tensor in stage.spec.inputs if tensor.name not in constants)
    outputs = tuple(fixed(tensor) for tensor in stage.spec.outputs)
    return Stage(StageSpec(stage.spec.name, inputs, outputs), Baked(stage, constants).eval())
