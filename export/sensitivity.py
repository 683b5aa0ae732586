"""Which layers lose most in 8 bits, and how many of them have to stay higher for a gate to be reached."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from i2i_rt.export import qdq
from i2i_rt.export.qdq import Inputs, Scheme, Seen

GAIN_DB = 0.1  # a step that gains less is the last one


@dataclass(frozen=True)
class Step:
    """One try of the search.

    Attributes:
        kept: how many layers stayed higher.
        share: of the multiplications that are in 8 bits, 0 to 1.
        fidelity_db: the worst PSNR of pictures; of codes, what their relative error is in dB. None: no difference.
        median_ms: the time at 256x256; None where the runtime is not on this machine.
        float_ms: that of the graph without 8 bits, taken in turns with it.
    """

    kept: int
    share: float
    fidelity_db: float | None
    median_ms: float | None
    float_ms: float | None

    @property
    def decibels(self) -> float:
        return float("inf") if self.fidelity_db is None else self.fidelity_db


def losses(
    model: ModelProto, seen: Mapping[str, Seen], scheme: Scheme, inputs: Sequence[Inputs], output: str
) -> dict[str, float]:
    """Gives for each layer the squared error of a float32 output when that layer alone is in 8 bits.

    Errors of many layers add up nearly as if they were independent, so these can be compared and added.
    """
    exact = [run[output] for run in map(qdq.values_of(model, [output]), inputs)]
    found = {}
    for name in seen:
        rounded = qdq.values_of(qdq.insert(model, seen, scheme, [name]), [output])
        found[name] = float(
            np.mean(
                [np.square(rounded(entry)[output] - answer).mean() for entry, answer in zip(inputs, exact, strict=True)]
            )
        )
    return found


def search(
    attempt: Callable[[frozenset[str]], Step],
    losses: Callable[[], Mapping[str, float]],
    costs: Mapping[str, int],
    gate_db: float,
) -> tuple[frozenset[str], list[Step]]:
    """Keeps layers higher until the gate is reached, or nothing is gained any more.

    Each step keeps those that lose most for what they save, as many as make half of the loss that is left: about
    3 dB a step.

    Args:
        attempt: puts all layers but these into 8 bits, and measures what comes of it.
        losses: gives the loss of each layer; asked where the first attempt does not reach the gate.
        costs: multiplications of each layer: what 8 bits save.
        gate_db: the end.

    Returns:
        the layers that the best step kept, and all steps.
    """
    kept: frozenset[str] = frozenset()
    steps = [attempt(kept)]
    best, best_kept = steps[0], kept
    while best.decibels < gate_db:
        more = kept | _worst(costs.keys() - kept, losses(), costs)
        if len(more) >= len(costs):
            break
        kept = more
        steps.append(attempt(kept))
        if steps[-1].decibels < best.decibels + GAIN_DB:
            break
        best, best_kept = steps[-1], kept
    return best_kept, steps


def _worst(names: Collection[str], losses: Mapping[str, float], costs: Mapping[str, int]) -> set[str]:
    left = sum(losses[name] for name in names)
    chosen: set[str] = set()
    for name in sorted(names, key=lambda name: losses[name] / max(costs[name], 1), reverse=True):
        chosen.add(name)
        if 2 * sum(losses[name] for name in chosen) >= left:
            break
    return chosen
