"""How fast the layers of trained networks are, forward and backward, beside the way in which they are usually written.

  python -m i2i_rt.benchmarks.training_operators -o benchmarks/results --threads 1

The same weights and pictures go through both, in turns; their results and gradients are compared first. Both are
plain PyTorch, as training computes them.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from i2i_rt.benchmarks.environment import environment
from i2i_rt.benchmarks.measure import FULL, QUICK, Rule, take_turns
from i2i_rt.benchmarks.report import markdown_table, write_files
from i2i_rt.errors import I2IError
from i2i_rt.kernels import blur, fused, modulated_conv2d, norm_act
from i2i_rt.models.munit import layer_norm
from i2i_rt.models.resample import binomial_filter

CLOSE = 1e-3  # of results and gradients, relative to their length: float32, and TF32 on a GPU
TAPS = (1, 3, 3, 1)

Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Case:
    """A layer at a shape: the project's function, the usual way, and what both take; all of it gets gradients."""

    name: str
    ours: Function
    usual: Function
    shapes: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Found:
    """Milliseconds of forward and backward passes, medians, and how many times as fast ours is."""

    name: str
    shape: str
    ours_ms: float
    usual_ms: float
    ratio: float


def shared_filters(x: Tensor, weight: Tensor, style: Tensor) -> Tensor:
    return modulated_conv2d(x, weight, style, norm="styled")


def own_filters(x: Tensor, weight: Tensor, style: Tensor) -> Tensor:
    """StyleGAN2's modulated convolution: filters for every picture, in one grouped convolution."""
    count = len(x)
    filters = weight[None] * style[:, None, :, None, None]
    filters = filters * torch.rsqrt(filters.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    y = functional.conv2d(x.flatten(0, 1)[None], filters.flatten(0, 1), padding=1, groups=count)
    return y.view(count, -1, *y.shape[2:])


def enlarged(x: Tensor, weight: Tensor, style: Tensor) -> Tensor:
    y = modulated_conv2d(x, weight, style, norm="filters", up=True)
    return blur(y, (4 * binomial_filter(TAPS)).to(x).repeat(y.shape[1], 1, 1, 1), (1, 1))


def enlarged_by_own_filters(x: Tensor, weight: Tensor, style: Tensor) -> Tensor:
    count = len(x)
    norm = weight.square().sum((1, 2, 3), keepdim=True).sqrt()
    filters = (weight / norm)[None] * style[:, None, :, None, None]
    turned = filters.transpose(1, 2).flatten(0, 1)  # [N * C, O, 3, 3]
    y = functional.conv_transpose2d(x.flatten(0, 1)[None], turned, stride=2, groups=count)
    return filtered(y.view(count, -1, *y.shape[2:]), (1, 1), gain=4)


def reduced(x: Tensor) -> Tensor:
    kernel = binomial_filter(TAPS).to(x).repeat(x.shape[1], 1, 1, 1)
    return blur(x, kernel, (1, 1), stride=2)


def filtered(x: Tensor, padding: tuple[int, int], gain: float = 1) -> Tensor:
    """Filters every channel as a picture of its own, as StyleGAN2's code without a kernel does."""
    before, after = padding
    kernel = (binomial_filter(TAPS) * gain).to(x)[None, None]
    y = functional.pad(x, (before, after, before, after)).flatten(0, 1)[:, None]
    y = functional.conv2d(y, kernel)
    return y.view(*x.shape[:2], *y.shape[2:])


def filtered_then_reduced(x: Tensor) -> Tensor:
    return filtered(x, (1, 1))[:, :, ::2, ::2]


def adaptive(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return norm_act(x, scale, shift, one_plus=True)


def adaptive_by_parts(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return (1 + scale[:, :, None, None]) * normalised(x) + shift[:, :, None, None]


def normalised(x: Tensor) -> Tensor:
    """Takes mean and variance of every plane, and writes the formula down."""
    mean = x.mean((2, 3), keepdim=True)
    variance = (x - mean).square().mean((2, 3), keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5)


def layer_norm_by_parts(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Takes mean and deviation of every picture, and writes MUNIT's formula down."""
    flat = x.flatten(1)
    mean, deviation = (part[:, None, None, None] for part in (flat.mean(1), flat.std(1)))
    return (x - mean) / (deviation + 1e-5) * weight[:, None, None] + bias[:, None, None]


def cases(batch: int, channels: int, side: int) -> list[Case]:
    picture, code, weight = (batch, channels, side, side), (batch, channels), (channels, channels, 3, 3)
    half = (batch, channels, side // 2, side // 2)
    return [
        Case("modulated convolution", shared_filters, own_filters, (picture, weight, code)),
        Case("modulated convolution that enlarges", enlarged, enlarged_by_own_filters, (half, weight, code)),
        Case("low-pass and reduction", reduced, filtered_then_reduced, (picture,)),
        Case("AdaIN", adaptive, adaptive_by_parts, (picture, code, code)),
        Case("instance norm", norm_act, normalised, (picture,)),
        Case("MUNIT's layer norm", layer_norm, layer_norm_by_parts, (picture, (channels,), (channels,))),
    ]


def measure(case: Case, device: torch.device, rule: Rule) -> Found:
    """Compares both ways, then times them.

    Raises:
        I2IError: where their results or gradients are not the same.
    """
    torch.manual_seed(0)
    given = [torch.randn(shape, device=device, requires_grad=True) for shape in case.shapes]
    upstream = torch.randn_like(case.usual(*given))

    def passes(function: Function) -> list[Tensor]:
        result = function(*given)
        found = [result, *torch.autograd.grad(result, given, upstream)]
        if device.type == "cuda":
            torch.cuda.synchronize()
        return found

    for ours, usual in zip(passes(case.ours), passes(case.usual), strict=True):
        error = fused.relative_error(ours.detach(), usual.detach())
        if not error <= CLOSE:
            raise I2IError(f"{case.name}: the two ways differ by {error:.1e}")
    ours_time, usual_time = take_turns([lambda: passes(case.ours), lambda: passes(case.usual)], rule)
    shape = "x".join(map(str, case.shapes[0]))
    return Found(case.name, shape, ours_time.p50_ms, usual_time.p50_ms, usual_time.p50_ms / ours_time.p50_ms)


def table(found: Sequence[Found]) -> list[list[str]]:
    lines = [["layer", "shape", "usual way, ms", "here, ms", "times as fast"]]
    return lines + [
        [one.name, one.shape, f"{one.usual_ms:.2f}", f"{one.ours_ms:.2f}", f"{one.ratio:.2f}"] for one in found
    ]


def markdown(found: Sequence[Found], rule: Rule, stamp: dict[str, Any]) -> str:
    words = [f"{name} {value}" for name, value in stamp.items() if not isinstance(value, dict)]
    return "\n\n".join(
        [
            "# Layers in training",
            f"Forward and backward in float32, {rule}; medians. The usual ways: a grouped convolution with filters "
            "of every picture's own, a low-pass of every channel as a picture of its own (then every second value), "
            "the formulas of the norms. Results and gradients agree.",
            markdown_table(table(found)),
            f"Measured on: {', '.join(words)}\n",
        ]
    )


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m i2i_rt.benchmarks.training_operators",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--batch", type=int, default=8, help="pictures (default: 8)")
    parser.add_argument("--channels", type=int, default=64, help="of the layers (default: 64)")
    parser.add_argument("--side", type=int, default=64, help="pixels, even (default: 64)")
    parser.add_argument("--threads", type=int, help="CPU threads to compute with (default: PyTorch's own choice)")
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    parser.add_argument("-o", "--output", type=Path, default=Path("bench-training"), help="folder for the results")
    arguments = parser.parse_args(words)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rule, stamp = QUICK if arguments.quick else FULL, environment(threads=arguments.threads)
    found = [measure(case, device, rule) for case in cases(arguments.batch, arguments.channels, arguments.side)]
    record = {"environment": stamp, "layers": [asdict(one) for one in found]}
    files = write_files(arguments.output, "training-operators", record, markdown(found, rule, stamp))
    print(f"{markdown_table(table(found))}\n\nwrote {files[0]}, {files[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
