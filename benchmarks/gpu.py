"""How a time is taken on a GPU: calls recorded in a CUDA graph and timed by events; and what the GPU reaches at best.

A graph takes the launches' cost on the CPU out of a time. Every measurement takes a `Clock`, so that tests can give
one that needs no GPU.
"""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from i2i_rt.benchmarks.measure import Rule, Timing
from i2i_rt.benchmarks.roofline import Rates
from i2i_rt.errors import UnsupportedError
from i2i_rt.kernels import fused
from i2i_rt.kernels.fused import Mode

WARM_UP_RUNS = 3  # libraries and compilers choose their kernels in the first ones
COPIED_BYTES = 1 << 30
MATRIX = 8192  # of the square product that the rate of the matrix units is measured with

Call = Callable[[], object]
Sample = Callable[[], float]  # gives the seconds of one call, the mean over the recorded ones
Clock = Callable[[Sequence[Call]], Sample]


def graph_clock(calls: Sequence[Call]) -> Sample:
    """Records calls one after another in a CUDA graph; gives what replays and times them."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP_RUNS):
            for call in calls:
                call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = [call() for call in calls]
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]

    def sample() -> float:
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000 / len(kept)

    return sample


def require_gpu() -> torch.device:
    """Gives the GPU.

    Raises:
        UnsupportedError: where PyTorch sees none.
    """
    if not torch.cuda.is_available():
        raise UnsupportedError("this benchmark needs a CUDA device, and PyTorch sees none here")
    return torch.device("cuda", torch.cuda.current_device())


def l2_bytes(device: torch.device) -> int:
    """Gives the size of the GPU's L2 cache; 0 for a CPU."""
    return int(torch.cuda.get_device_properties(device).L2_cache_size) if device.type == "cuda" else 0


def measured_rates(clock: Clock, device: torch.device, *, copied: int = COPIED_BYTES, side: int = MATRIX) -> Rates:
    """Measures what memory and matrix units reach: a copy, read and written bytes counted, and a bf16 product."""
    source = torch.empty(copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_s = _median(clock([lambda: target.copy_(source)]))
    a, b = (torch.randn(side, side, device=device).to(torch.bfloat16) for _ in range(2))
    result = torch.empty_like(a)
    product_s = _median(clock([lambda: torch.mm(a, b, out=result)]))
    return Rates(tflops=2 * side**3 / product_s / 1e12, terabytes=2 * copied / copy_s / 1e12)


def _median(sample: Sample, runs: int = 20) -> float:
    return sorted(sample() for _ in range(runs))[runs // 2]


@dataclass(frozen=True)
class Variant:
    """A way to run a function of tensors.

    Attributes:
        name: of the column.
        mode: of the fused kernels.
        compiler: what goes through the function first.
        by_hand: whether it takes the formula that is written for the compiler, where there is one.
        foreign: whether it is computed without PyTorch, so that its result has to be compared too.
    """

    name: str
    mode: Mode
    compiler: Literal["none", "default", "best"] = "none"
    by_hand: bool = False
    foreign: bool = False

    @property
    def slow(self) -> bool:
        """Whether it takes long before it runs."""
        return self.compiler != "none" or self.foreign

    def problem(self, dtype: torch.dtype) -> str | None:
        """Says why nothing can be run so here in a dtype; None where it can."""
        return None

    def calls(
        self, function: Callable[..., Any], inputs: Sequence[tuple[Any, ...]], weights: Sequence[int] = ()
    ) -> list[Callable[[], Any]]:
        """Gives a call of the function for each of several arguments of the same shapes.

        Args:
            function: of tensors.
            inputs: its arguments, again and again.
            weights: positions of those that a network has as constants; a compiler of whole networks may use that.
        """
        run = self.prepared(function)
        return [partial(run, *given) for given in inputs]

    def prepared(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Gives the function as this variant runs it."""
        compiled = compile_default(function) if self.compiler == "default" else function
        if self.compiler == "best":
            compiled = compile_best(function)

        def run(*arguments: Any) -> Any:
            with fused.mode(self.mode), torch.inference_mode():
                return compiled(*arguments)

        return run


OURS = Variant("fused", "auto")
EAGER = Variant("eager", "off")
COMPILED = Variant("torch.compile", "off", "default")
BEST = Variant("its fair best", "off", "best", by_hand=True)
# what makes the best code of these networks: one launch for a statistic, channels last in every convolution
BEST_OPTIONS = {
    "triton.cooperative_reductions": True,
    "force_layout_optimization": True,
    "max_autotune": True,
    "coordinate_descent_tuning": True,
}


def compile_default(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled: Callable[..., Any] = torch.compile(function, dynamic=False)
    return compiled


def compile_best(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles with every option that helps these networks; graphs are the clock's."""
    compiled: Callable[..., Any] = torch.compile(function, dynamic=False, options=dict(BEST_OPTIONS))
    return compiled


def take_turns(samples: Mapping[str, Sample], rule: Rule) -> dict[str, Timing]:
    """Times what is compared in turns, a round at a time, so that all meet the same clocks and neighbours."""
    rounds: dict[str, list[list[float]]] = {name: [] for name in samples}
    for sample in samples.values():
        for _ in range(rule.warmup_runs):
            sample()
    for _ in range(rule.rounds):
        for name, sample in samples.items():
            taken: list[float] = []
            while len(taken) < rule.runs_per_round or sum(taken) < rule.seconds_per_round:
                taken.append(sample())
            rounds[name].append(taken)
    return {name: Timing.of(taken) for name, taken in rounds.items()}


# a sample of kernels lasts under a millisecond, so that few seconds hold many
GPU_FULL = Rule("in full", warmup_runs=5, warmup_s=0.0, rounds=5, runs_per_round=10, seconds_per_round=0.004)
GPU_QUICK = Rule("quick", warmup_runs=2, warmup_s=0.0, rounds=3, runs_per_round=3, seconds_per_round=0.0)


def free() -> None:
    """Gives back what graphs and compiled functions of the last case hold."""
    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def first_line(error: BaseException) -> str:
    """Gives an error's first line, for a note."""
    line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def tensor_bytes(value: Any) -> int:
    """Gives the bytes of the tensors in a value or a tuple of values."""
    values = value if isinstance(value, tuple | list) else (value,)
    return sum(part.numel() * part.element_size() for part in values if isinstance(part, Tensor))
