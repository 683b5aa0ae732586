"""The whole benchmark on a real server, with small networks and few requests."""

import asyncio
import contextlib
from pathlib import Path

import pytest

pytest.importorskip("psutil", reason="needs psutil")

from i2i_rt.benchmarks.measure import Rule
from i2i_rt.benchmarks.serving import bench
from i2i_rt.benchmarks.serving.malformed import malformed
from i2i_rt.benchmarks.serving.mixed import Outcome, ask_all, mixed
from i2i_rt.benchmarks.serving.processes import Processes
from i2i_rt.benchmarks.serving.questions import Asker
from i2i_rt.benchmarks.serving.sweep import Plan
from i2i_rt.benchmarks.serving.target import served
from i2i_rt.benchmarks.serving.wire import GrpcWire, HttpWire, SharedMemoryWire
from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.errors import UnsupportedError
from i2i_rt.importers.table import write_bundle
from i2i_rt.serving.installation import find_server
from tests.small import single, spade, stargan

pytestmark = pytest.mark.serving
BACKEND = "onnxruntime"
SHORT = Plan(seconds=0.3, warm_up_s=0.05, concurrencies=(1, 2), shares=(0.5, 2.0))
RULE = Rule("in a test", warmup_runs=1, warmup_s=0.0, rounds=2, runs_per_round=2, seconds_per_round=0.0)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles with and without styles and label maps, exported; skipped where there is no server."""
    from i2i_rt.cli import main

    try:
        find_server()
    except UnsupportedError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("bundles")
    for name, made in {"cut": single.cut(), "starganv2": stargan.small(), "spade": spade.small()}.items():
        write_bundle(made, name, folder / name, Provenance("drawn", sha256=""))
        assert main(["export", str(folder / name), "--format", "onnx", "--no-verify"]) == 0
    return {path.name: path for path in sorted(folder.iterdir())}


def test_a_bundle_is_measured(bundles: dict[str, Path]) -> None:
    report = bench.measure(bundles["cut"], backend=BACKEND, threads=1, sizes=[(64, 64)], plan=SHORT, rule=RULE)
    names = [(row.name, row.model, row.tensors) for row in report.costs]
    assert names[:4] == [
        (way, "cut", "uint8 64x64") for way in (bench.IN_PROCESS, bench.GRPC, bench.SHARED, bench.HTTP)
    ]
    assert {(model, tensors) for _, model, tensors in names[4:]} == {
        ("echo", "uint8 64x64"), ("echo", "float32 64x64"),
    }  # fmt: skip
    assert {row.wire for row in report.closed} == {bench.GRPC, bench.SHARED, bench.HTTP}
    assert [row.share for row in report.open] == [0.5, 2.0]
    assert all(set(row.load.codes) <= {"OK", "UNAVAILABLE"} for row in report.loads)
    assert all(row.split is not None and row.split.compute_ms > 0 for row in report.loads if row.load.accepted)
    assert {"gateway", "tritonserver", "stubs"} <= set(report.loads[0].cpu_ms)


def test_requests_of_every_kind_are_answered_right(bundles: dict[str, Path]) -> None:
    assert asyncio.run(every_kind(bundles)).wrong == {}


async def every_kind(bundles: dict[str, Path]) -> Outcome:
    """Asks every question once, then drawn ones."""
    async with contextlib.AsyncExitStack() as stack:
        target = stack.enter_context(served(bundles, backend=BACKEND, threads=1))
        grpc = await stack.enter_async_context(GrpcWire(target.grpc))
        http = await stack.enter_async_context(HttpWire(target.http))
        shared = await stack.enter_async_context(SharedMemoryWire(target.grpc, key=target.key))
        right, wrong = [], []
        for name, path in bundles.items():
            translator = stack.enter_context(bench.translator_like_served(Bundle.open(path), BACKEND, "auto", 1))
            asker = Asker(name, translator, grpc, http, shared)
            right += await asker.questions()
            wrong += malformed(asker)
        processes = Processes(target.pid)
        every = [*right, *wrong]
        once = await ask_all(iter(every), processes, count=len(every), settled=0, stretch=len(every), concurrency=2)
        assert len(once.asked) > 50
        drawn = await ask_all(mixed(right, wrong), processes, count=40, settled=20, stretch=20, concurrency=4)
        assert len(drawn.memory_mib) == 2 and drawn.growth >= 0
        return Outcome(once.asked, {**once.wrong, **drawn.wrong}, drawn.memory_mib, drawn.settled)
