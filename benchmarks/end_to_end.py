"""Whole translations on a GPU: with the fused operators, and as well as PyTorch can do them without.

A run takes frames or label maps that lie on the GPU to frames there, recorded in a CUDA graph. Each picture is compared
with PyTorch's in float32 first. The floor is that of `roofline`, at the rates that were measured in the same process.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from i2i_rt.benchmarks.gpu import BEST, COMPILED, OURS, Clock, Sample, Variant, first_line, free, take_turns
from i2i_rt.benchmarks.measure import Rule
from i2i_rt.benchmarks.official import (
    RESNET_256,
    SPADE_COCO,
    STARGANV2,
    SWAPPING_256,
    Official,
    stage_inputs,
)
from i2i_rt.benchmarks.report import Row
from i2i_rt.benchmarks.roofline import Rates, floor_s
from i2i_rt.runtime.gates import GATES_DB
from i2i_rt.runtime.torch_device import placed, prepare
from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import stages_of

FUSED_COMPILED = Variant("fused, torch.compile", "auto", "default")
VARIANTS = (OURS, FUSED_COMPILED, COMPILED, BEST)
BATCHES = (1, 8)
PRECISION = "bf16"
SPEED_UP = 1.25  # over the fair best
PSNR_DB = 40.0


@dataclass(frozen=True)
class Goal:
    """What a network's translation should reach: the share of its floor, for one image and for a batch of 8."""

    official: Official
    shares: Mapping[int, float]


GOALS = (
    Goal(RESNET_256, {1: 0.33, 8: 0.60}),
    Goal(STARGANV2, {1: 0.30, 8: 0.55}),
    Goal(SPADE_COCO, {1: 0.80, 8: 1.00}),
    Goal(SWAPPING_256, {1: 0.33, 8: 0.55}),
)


def measure(
    device: torch.device,
    clock: Clock,
    rule: Rule,
    rates: Rates,
    *,
    goals: Sequence[Goal] = GOALS,
    batches: Sequence[int] = BATCHES,
    variants: Sequence[Variant] = VARIANTS,
    progress: Callable[[str], None] = lambda line: None,
    out_of_time: Callable[[], bool] = lambda: False,
) -> list[Row]:
    """Times each network in each variant; what fails, is wrong, or finds no time left becomes a row with the reason."""
    rows: list[Row] = []
    for goal in goals:
        for batch in batches:
            progress(f"{goal.official.label}, batch {batch}")
            rows += _rows(goal.official, batch, device, clock, rule, rates, variants, progress, out_of_time)
            free()
    return rows


def _rows(
    official: Official,
    batch: int,
    device: torch.device,
    clock: Clock,
    rule: Rule,
    rates: Rates,
    variants: Sequence[Variant],
    progress: Callable[[str], None],
    out_of_time: Callable[[], bool],
) -> list[Row]:
    torch.manual_seed(0)
    stage = stages_of(official.system, {name: net.eval() for name, net in official.networks().items()})["translate"]
    inputs = [tensor.to(device) for tensor in stage_inputs(stage.spec, official.height, official.width, batch)]
    expected = _exact(stage, inputs, device)
    module = placed(stage.module, PRECISION)
    rows: dict[str, Row] = {}
    samples: dict[str, Sample] = {}
    for variant in variants:
        name = f"{official.name} {variant.name}"
        row = Row("translate", name, PRECISION, official.height, official.width, batch)
        if variant.compiler != "none" and out_of_time():
            rows[variant.name] = replace(row, note="no time was left")
            continue
        progress(f"{official.label}, batch {batch}, {variant.name}")
        try:
            run = variant.prepared(module)
            row = compared(row, run(*inputs), expected)
            if not row.wrong:
                samples[variant.name] = clock([lambda run=run: run(*inputs)])  # type: ignore[misc]
        except Exception as error:  # compilers fail in their own ways; the other rows are worth having
            row = replace(row, note=first_line(error))
        rows[variant.name] = row
    timings = take_turns(samples, rule)
    floor_ms = 1000 * floor_s(official, batch, rates)
    for name, timing in timings.items():
        others = {other: timings[other].p50_ms / timing.p50_ms for other in timings if other != name}
        rows[name] = replace(
            rows[name],
            timing=timing,
            images_per_s=1000 * batch / timing.mean_ms,
            ratios={"floor": floor_ms / timing.p50_ms, **others},
        )
    return list(rows.values())


def _exact(stage: Stage, inputs: Sequence[Tensor], device: torch.device) -> Tensor:
    """Gives the frames of plain PyTorch in float32, without TF32."""
    prepare("fp32", None)
    exact: nn.Module = stage.module.to(device)
    return Variant("", "off").prepared(exact)(*inputs)  # type: ignore[no-any-return]


def compared(row: Row, frames: Tensor, expected: Tensor) -> Row:
    """Adds how far frames are from the exact ones; the worst of a batch counts."""
    difference = (frames.double() - expected.double()).square().flatten(1).mean(1)
    worst = float(difference.max())
    psnr = None if worst == 0 else 10 * math.log10(255**2 / worst)
    largest = int((frames.int() - expected.int()).abs().max())
    row = replace(row, psnr_db=psnr, largest_difference=largest)
    if psnr is not None and psnr < GATES_DB[row.precision]:
        note = f"wrong: {psnr:.1f} dB; {GATES_DB[row.precision]:.0f} dB is the gate"
        return replace(row, wrong=True, note=note)
    return row


def figures(rows: Sequence[Row], goals: Sequence[Goal] = GOALS) -> dict[str, float | str]:
    """Holds what was reached against the goals, by network and batch."""
    found: dict[str, float | str] = {}
    for goal in goals:
        for batch, share in goal.shares.items():
            timed = {
                row.name.removeprefix(f"{goal.official.name} "): row
                for row in rows
                if row.name.startswith(f"{goal.official.name} ") and row.batch == batch and row.timing is not None
            }
            ours = [timed[name] for name in (OURS.name, FUSED_COMPILED.name) if name in timed]
            if not ours:
                continue
            best = max(ours, key=lambda row: row.ratios["floor"])
            text = f"{best.ratios['floor']:.0%} of the floor (goal {share:.0%})"
            if BEST.name in best.ratios:
                text += f", {best.ratios[BEST.name]:.2f} x its fair best (goal {SPEED_UP})"
            quality = "exact" if best.psnr_db is None else f"{best.psnr_db:.1f} dB"
            found[f"{goal.official.label}, batch {batch}"] = f"{text}, {quality} (goal {PSNR_DB:.0f} dB)"
    return found
