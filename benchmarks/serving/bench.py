"""The serving benchmark of one bundle: a server of its own, what it costs, and what it does under load.

A run is what a user waits for: uint8 frames in NumPy to uint8 frames in NumPy. Answers are compared with those of the
same artifact in this process, and a run with a wrong one says so.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from i2i_rt.benchmarks.environment import environment
from i2i_rt.benchmarks.inputs import sample_inputs
from i2i_rt.benchmarks.measure import Rule
from i2i_rt.benchmarks.serving import costs, perf_analyzer
from i2i_rt.benchmarks.serving.costs import Way
from i2i_rt.benchmarks.serving.load import Latency, closed_loop, first_served
from i2i_rt.benchmarks.serving.processes import Processes
from i2i_rt.benchmarks.serving.report import CostRow, LoadRow, ServingReport
from i2i_rt.benchmarks.serving.sweep import Asked, Plan, Sweep, saturated_per_s
from i2i_rt.benchmarks.serving.target import Target, served
from i2i_rt.benchmarks.serving.wire import GrpcWire, HttpWire, SharedMemoryWire, agrees
from i2i_rt.bundle import Bundle
from i2i_rt.errors import I2IError, UnsupportedError
from i2i_rt.runtime import backends
from i2i_rt.serving.client import Client
from i2i_rt.serving.repository import safe_name
from i2i_rt.translator import Translator

Size = tuple[int, int]
CROSS_CHECKS = 500  # requests
IN_PROCESS, GRPC, SHARED, HTTP = "in this process", "gRPC", "gRPC, shared memory", "HTTP"


def measure(
    path: Path,
    *,
    backend: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    sizes: Sequence[Size] = ((256, 256),),
    plan: Plan,
    rule: Rule,
    progress: Callable[[str], None] = lambda line: None,
) -> ServingReport:
    """Measures a bundle: costs at every size, load at the first.

    Raises:
        UnsupportedError: where the bundle translates nothing, or cannot be served here.
        I2IError: where the server does not start, or gives another answer than the same artifact in this process.
    """
    bundle = Bundle.open(path)
    stamp = environment(bundle=bundle, threads=threads)
    name = safe_name(path.resolve().name)
    if (fixed := bundle.stages[bundle.main_stage].fixed_size) is not None:
        sizes = [fixed]
    with translator_like_served(bundle, backend, precision, threads) as translator:
        progress("starting a server")
        with served({name: path}, backend=backend, precision=precision, threads=threads) as target:
            processes = Processes(target.pid)
            rows = measure_costs(target, name, translator, processes, sizes, rule, progress)
            with first_served():
                loads = asyncio.run(measure_load(target, name, translator, processes, sizes[0], plan, progress))
            progress("cross-check")
            note = asyncio.run(cross_check(target, sizes[0]))
        what = f"{translator.session.backend} {translator.session.precision}"
    title = f"Serving {path.resolve().name} ({bundle.system}, {what})"
    figures: dict[str, float | str] = {
        "saturated rate, right answers a second": saturated_per_s(loads, GRPC),
        **cost_figures(rows),
    }
    return ServingReport(title, f"costs {rule}; load {plan}", stamp, tuple(rows), tuple(loads), figures, (note,))


def translator_like_served(bundle: Bundle, backend: str, precision: str, threads: int | None) -> Translator:
    """Opens in this process what the server opens in its own.

    Raises:
        UnsupportedError: where the bundle translates nothing, or cannot be run here without PyTorch.
    """
    if "translate" not in bundle.stages:
        raise UnsupportedError(f"{bundle.path} translates nothing; it has the stages {', '.join(bundle.stages)}")
    choice = backends.choose(bundle, backend, precision, without=("torch",))
    return Translator(backends.open_session(bundle, choice, threads=threads), choice.reason, bundle)


def measure_costs(
    target: Target,
    name: str,
    translator: Translator,
    processes: Processes,
    sizes: Sequence[Size],
    rule: Rule,
    progress: Callable[[str], None],
) -> list[CostRow]:
    """Times one request after the other, in this process and over every way to the server; then echoes.

    Raises:
        I2IError: where the server gives another answer.
    """
    rows: list[CostRow] = []
    with contextlib.ExitStack() as stack:
        clients = {
            GRPC: stack.enter_context(Client(f"grpc://{target.grpc}", bundle=name, shared_memory="off")),
            SHARED: stack.enter_context(Client(f"grpc://{target.grpc}", bundle=name, shared_memory="on")),
            HTTP: stack.enter_context(Client(f"http://{target.http}", bundle=name)),
        }
        for height, width in sizes:
            progress(f"uint8 {height}x{width}: in this process, and through the server")
            ways = _translating(name, translator, clients, height, width)
            rows += costs.measure(ways, processes, rule)
        for height, width in sizes:
            for dtype in ("uint8", "float32"):
                progress(f"{dtype} {height}x{width}, an echo: through the server")
                rows += costs.measure(_echoing(clients, height, width, dtype), processes, rule)
    return rows


def _translating(
    name: str, translator: Translator, clients: Mapping[str, Client], height: int, width: int
) -> list[Way]:
    assert translator.bundle is not None
    tensors = f"uint8 {height}x{width}"
    inputs = sample_inputs(translator.bundle, height, width, 1)
    frames = inputs[translator.session.stages["translate"].inputs[0].name]
    style = inputs.get("style")
    run = partial(translator.session.run, "translate", inputs)
    expected = run()["translated"]
    ways = [Way(IN_PROCESS, name, tensors, run, remote=False)]
    for way, client in clients.items():
        ask = partial(client.translate, frames, None if style is None else style[0])
        if not agrees(ask(), expected):
            raise I2IError(f"over {way} the server gives another answer than {translator.description}")
        ways.append(Way(way, name, tensors, ask, remote=True))
    return ways


def _echoing(clients: Mapping[str, Client], height: int, width: int, dtype: str) -> list[Way]:
    values = np.random.default_rng(0).integers(0, 256, (1, height, width, 3)).astype(dtype)
    ways = []
    for name, client in clients.items():
        (model,) = (model for model in client.models() if model.name == f"echo-{dtype}")
        ask = partial(client.run_stage, model, {"values": values})
        ways.append(Way(name, "echo", f"{dtype} {height}x{width}", ask, remote=True))
    return ways


async def measure_load(
    target: Target,
    name: str,
    translator: Translator,
    processes: Processes,
    size: Size,
    plan: Plan,
    progress: Callable[[str], None],
) -> list[LoadRow]:
    """Runs the closed loops over every way, then the open ones over gRPC."""
    assert translator.bundle is not None
    inputs = sample_inputs(translator.bundle, *size, 1)
    expected = translator.session.run("translate", inputs)
    model, tensors = f"{name}-translate", f"uint8 {size[0]}x{size[1]}"
    most = max(plan.concurrencies)
    async with (
        GrpcWire(target.grpc) as grpc,
        HttpWire(target.http) as http,
        SharedMemoryWire(target.grpc, key=target.key) as shared,
    ):
        sweep = Sweep(grpc, processes, progress)
        asked = [
            Asked(model, way, tensors, await wire.call(model, inputs, expected, in_flight=most))
            for way, wire in ((GRPC, grpc), (SHARED, shared), (HTTP, http))
        ]
        for one in asked:
            for concurrency in plan.concurrencies if one.wire == GRPC else (most,):
                await sweep.closed(one, concurrency, plan)
        saturated = saturated_per_s(sweep.rows, GRPC)
        if saturated:
            for share in plan.shares:
                await sweep.open(asked[0], saturated, share, plan)
    return sweep.rows


async def cross_check(target: Target, size: Size) -> str:
    """Says what another load generator measures beside ours, one request at a time."""
    values = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    async with GrpcWire(target.grpc) as grpc:
        call = await grpc.call("echo-uint8", {"values": values}, {"echo": values})
        samples = await closed_loop(itertools.repeat(call, CROSS_CHECKS), concurrency=1)
    ours = Latency.of([sample.done - sample.due for sample in samples])
    assert ours is not None
    try:
        theirs = perf_analyzer.check(target.grpc, "echo-uint8", "values", values.shape[1:], CROSS_CHECKS)
    except UnsupportedError as error:
        return f"no cross-check by another load generator: {error}"
    return (
        f"cross-check, echo uint8 {size[0]}x{size[1]}, one at a time over gRPC: perf_analyzer measures "
        f"{theirs.p50_ms:.2f} ms p50 and {theirs.p99_ms:.2f} ms p99, this benchmark {ours.p50_ms:.2f} and "
        f"{ours.p99_ms:.2f}"
    )


def cost_figures(rows: Sequence[CostRow]) -> dict[str, float | str]:
    """Gives what serving adds to the first model and size: milliseconds over every way, and processor time."""
    (first, *others) = [row for row in rows if (row.model, row.tensors) == (rows[0].model, rows[0].tensors)]
    figures: dict[str, float | str] = {f"{row.name} over {first.name}, ms p50": row.over_ms for row in others}
    for row in others:
        if row.cpu_ms and first.cpu_ms:
            figures[f"{row.name}, the server's CPU / {first.name}"] = row.cpu_ms / first.cpu_ms
    return figures
