"""The least time that a network's products allow: how long a GPU would take if it did nothing else, at full speed.

    python -m i2i_rt.benchmarks.roofline
    python -m i2i_rt.benchmarks.roofline --tflops 798 --terabytes 4.3 --batch 8

Each convolution or matrix product takes at least as long as its multiplications at the rate of the matrix units, and
at least as long as its input, output and weights at the rate of the memory; the floor is the sum of the larger ones.
Norms and activations count as free, as if all of them were fused into the convolutions; "with norms" adds one reading
and one writing of what each instance norm normalises. Counted on PyTorch's meta device, for 2-byte elements.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from i2i_rt.benchmarks.official import NETWORKS, Official, stage_inputs
from i2i_rt.benchmarks.report import markdown_table
from i2i_rt.stages.table import stages_of

BYTES = 2  # of an element in bfloat16 and float16
PRODUCTS = {torch.ops.aten.mm.default: 0, torch.ops.aten.addmm.default: 1, torch.ops.aten.bmm.default: 0}
NORMS = (torch.ops.aten.native_batch_norm.default, torch.ops.aten._native_batch_norm_legit.no_stats)


@dataclass(frozen=True)
class Rates:
    """What a GPU reaches: of products 1e12 operations a second, of memory 1e12 bytes a second. These are an H100's."""

    tflops: float = 790.0
    terabytes: float = 3.0


@dataclass
class Work:
    """What one run computes and moves.

    Attributes:
        products: multiply-accumulates and elements moved of every convolution and matrix product.
        normed: elements that instance norms normalise.
        moved: elements that PyTorch's operators read and write, each for itself.
    """

    products: list[tuple[int, int]] = field(default_factory=list)
    normed: int = 0
    moved: int = 0

    @property
    def macs(self) -> int:
        return sum(macs for macs, _ in self.products)

    @property
    def product_bytes(self) -> int:
        return BYTES * sum(elements for _, elements in self.products)

    def floor_s(self, rates: Rates) -> float:
        """Gives the floor in seconds."""
        return sum(
            max(2 * macs / (rates.tflops * 1e12), BYTES * elements / (rates.terabytes * 1e12))
            for macs, elements in self.products
        )

    def with_norms_s(self, rates: Rates) -> float:
        return self.floor_s(rates) + 2 * BYTES * self.normed / (rates.terabytes * 1e12)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, work: Work) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._work = work

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        outputs = [value for value in tree_leaves(result) if isinstance(value, Tensor)]
        if not func.is_view and outputs:
            inputs = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
            self._work.moved += sum(tensor.numel() for tensor in (*inputs, *outputs))
        if func is torch.ops.aten.convolution.default:
            x, weight, transposed = args[0], args[1], args[6]
            # a transposed convolution spreads every input value over a kernel, another one sums up for every output
            macs = (x if transposed else result).numel() * weight[0].numel()
            self._work.products.append((macs, x.numel() + weight.numel() + result.numel()))
        elif func in PRODUCTS:
            a, b = args[PRODUCTS[func] : PRODUCTS[func] + 2]
            self._work.products.append((result.numel() * a.shape[-1], a.numel() + b.numel() + result.numel()))
        elif func in NORMS:
            self._work.normed += args[0].numel()
        return result


def count(network: nn.Module, method: str, inputs: Sequence[Tensor]) -> Work:
    """Counts what a method of a network does with inputs; all lie on the meta device."""
    work = Work()
    with torch.no_grad(), _Counter(work):
        getattr(network, method)(*inputs)
    return work


def work_of(official: Official, batch: int = 1) -> dict[str, Work]:
    """Gives the work of each part of a translation: encoder and generator, or the generator alone."""
    with torch.device("meta"):
        networks = {name: network.to("meta").eval() for name, network in official.networks().items()}
        return {
            name: count(networks[name], "forward", inputs) for name, inputs in official.inputs(networks, batch).items()
        }


def floor_s(official: Official, batch: int, rates: Rates) -> float:
    """Gives the floor in seconds of the stage `translate`, which runs what it needs of the networks."""
    with torch.device("meta"):
        networks = {name: network.to("meta").eval() for name, network in official.networks().items()}
        stage = stages_of(official.system, networks)["translate"]
        inputs = stage_inputs(stage.spec, official.height, official.width, batch)
        return count(stage.module, "forward", inputs).floor_s(rates)


def table(batch: int, rates: Rates) -> list[list[str]]:
    """Gives the floors of all official networks as text with a header; times are for one image of the batch."""
    lines = [["network", "part", "GMAC", "product MB", "eager MB", "floor ms", "with norms ms"]]
    for official in NETWORKS:
        for name, work in work_of(official, batch).items():
            lines.append(
                [
                    official.label,
                    name,
                    f"{work.macs / batch / 1e9:.1f}",
                    f"{work.product_bytes / batch / 1e6:.0f}",
                    f"{BYTES * work.moved / batch / 1e6:.0f}",
                    f"{1000 * work.floor_s(rates) / batch:.3f}",
                    f"{1000 * work.with_norms_s(rates) / batch:.3f}",
                ]
            )
    return lines


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m i2i_rt.benchmarks.roofline",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--batch", type=int, default=1, help="images in a run (default: 1)")
    parser.add_argument("--tflops", type=float, default=Rates.tflops, help="1e12 operations a second (default: H100)")
    parser.add_argument("--terabytes", type=float, default=Rates.terabytes, help="1e12 bytes a second (default: H100)")
    arguments = parser.parse_args(words)
    print(markdown_table(table(arguments.batch, Rates(arguments.tflops, arguments.terabytes))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
