"""What the optimisation profiles of an engine mean for the model that is served."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from i2i_rt.export.profiles import Shapes
from i2i_rt.serving.served import ServedModel
from i2i_rt.spec import Axis, StageSpec, TensorSpec


def holds(profiles: Sequence[Shapes], shapes: Mapping[str, Sequence[int]]) -> bool:
    """Says whether one of the profiles takes inputs of these shapes."""
    return any(
        all(
            least <= length <= greatest
            for name, shape in shapes.items()
            for length, least, greatest in zip(shape, profile[name][0], profile[name][2], strict=True)
        )
        for profile in profiles
    )


def narrowed(served: ServedModel, shapes: Sequence[Shapes]) -> ServedModel:
    """Gives a model whose description and limits say what the profiles of its engine hold.

    So a size that no profile holds is refused in front of the engine, with a sentence, and not inside it.

    Args:
        served: as the stage takes any size.
        shapes: of each input, the least, the usual and the greatest shape, for each profile.
    """
    lengths: dict[str, list[int]] = {}
    for tensor in served.spec.inputs:
        for profile in shapes:
            for axis, least, _, greatest in zip(tensor.axes, *profile[tensor.name], strict=True):
                lengths.setdefault(axis.name, []).extend((least * axis.divisor, greatest * axis.divisor))
    sides = [length for name in ("H", "W") for length in lengths.get(name, ())]
    limits = replace(
        served.limits,
        batch=min(served.limits.batch, max(lengths.get("N", [served.limits.batch]))),
        side=min(served.limits.side, max(sides, default=served.limits.side)),
    )
    spec = StageSpec(served.spec.name, _within(served.spec.inputs, lengths), _within(served.spec.outputs, lengths))
    return replace(served, spec=spec, limits=limits)


def _within(tensors: Sequence[TensorSpec], lengths: Mapping[str, list[int]]) -> tuple[TensorSpec, ...]:
    def fitted(axis: Axis) -> Axis:
        found = lengths.get(axis.name)
        if axis.size is not None or axis.name == "N" or found is None:
            return axis
        if min(found) == max(found):
            return Axis(axis.name, size=found[0] // axis.divisor)
        return replace(axis, low=max(axis.low, min(found)))

    return tuple(replace(tensor, axes=tuple(map(fitted, tensor.axes))) for tensor in tensors)
