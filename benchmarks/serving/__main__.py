"""Takes every figure of `benchmarks/results/serving.*` again, on servers of its own, one after the other.

    python -m i2i_rt.benchmarks.serving -o benchmarks/results
    python -m i2i_rt.benchmarks.serving --quick -o /some/folder

Costs are those of CycleGAN's generator with 9 blocks and width 64, and of one with 6 blocks and width 16, which also
gets the load; 5,000 mixed requests go to small networks with and without styles and label maps. Weights are drawn. The
bundles are kept in `runs/`. Close what else runs. Exit code 1: something that should be reached was not.
"""

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from i2i_rt.benchmarks.measure import FULL, QUICK, Rule
from i2i_rt.benchmarks.serving import bench, goals, sweep
from i2i_rt.benchmarks.serving.malformed import malformed
from i2i_rt.benchmarks.serving.mixed import Outcome, Question, ask_all, mixed
from i2i_rt.benchmarks.serving.models import resnet, small_bundles
from i2i_rt.benchmarks.serving.plot import plot
from i2i_rt.benchmarks.serving.processes import Processes
from i2i_rt.benchmarks.serving.questions import Asker
from i2i_rt.benchmarks.serving.report import CostRow
from i2i_rt.benchmarks.serving.target import served
from i2i_rt.benchmarks.serving.wire import GrpcWire, HttpWire, SharedMemoryWire
from i2i_rt.bundle import Bundle

IN_FLIGHT = 4  # of the mixed requests


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m i2i_rt.benchmarks.serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer runs and requests; the output says that it was so")
    parser.add_argument("--requests", type=int, default=5000, help="mixed ones (default: 5000, quick: 500)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder for the bundles (default: runs)")
    parser.add_argument("-o", "--output", type=Path, default=Path("bench-serving"), help="folder for the results")
    arguments = parser.parse_args(words)
    rule, plan = (QUICK, sweep.QUICK) if arguments.quick else (FULL, sweep.FULL)
    requests = max(arguments.requests // (10 if arguments.quick else 1), 50)
    started = time.perf_counter()
    full, light = resnet(arguments.runs / "resnet9", 64, 9), resnet(arguments.runs / "resnet6", 16, 6)
    small = small_bundles(arguments.runs / "small")

    report = bench.measure(light, plan=plan, rule=rule, progress=_say)
    rows = _full_costs(full, rule)
    outcome = asyncio.run(ask_mixed(small, requests))
    reached = [
        *goals.cost_goals([row for row in report.costs if row.model == light.name]),
        *goals.cpu_goals(rows),
        *goals.load_goals(report.loads, sweep.saturated_per_s(report.loads, bench.GRPC)),
        *goals.mixed_goals(outcome, requests // 5),
    ]
    report = replace(
        report,
        title="Serving",
        costs=(*rows, *report.costs),
        figures={goal.what: str(goal) for goal in reached},
        notes=(*report.notes, *_mixed_notes(outcome)),
    )
    files = [*report.write(arguments.output), arguments.output / "serving.png"]
    plot(report, files[-1])
    print(report.markdown())
    print(f"wrote {', '.join(map(str, files))} in {time.perf_counter() - started:.0f} s")
    return 0 if all(goal.is_reached for goal in reached) else 1


def _full_costs(path: Path, rule: Rule) -> list[CostRow]:
    """Measures what one network's requests cost, without load."""
    with bench.translator_like_served(Bundle.open(path), "auto", "auto", None) as translator:
        _say("starting a server of CycleGAN's generator")
        with served({path.name: path}) as target:
            processes = Processes(target.pid)
            rows = bench.measure_costs(target, path.name, translator, processes, [(256, 256)], rule, _say)
    return [row for row in rows if row.model == path.name]


async def ask_mixed(bundles: Mapping[str, Path], count: int) -> Outcome:
    """Asks a server of several bundles so many questions of every kind, 5 % of them malformed."""
    async with contextlib.AsyncExitStack() as stack:
        _say("starting a server of small networks")
        target = stack.enter_context(served(bundles, threads=1))
        grpc = await stack.enter_async_context(GrpcWire(target.grpc))
        http = await stack.enter_async_context(HttpWire(target.http))
        shared = await stack.enter_async_context(SharedMemoryWire(target.grpc, key=target.key))
        right: list[Question] = []
        wrong: list[Question] = []
        for name, path in bundles.items():
            translator = stack.enter_context(bench.translator_like_served(Bundle.open(path), "auto", "auto", 1))
            asker = Asker(name, translator, grpc, http, shared)
            right += await asker.questions()
            wrong += malformed(asker)
        _say(f"{count} requests of {len(right)} kinds, and of {len(wrong)} malformed ones")
        questions, processes = mixed(right, wrong), Processes(target.pid)
        return await ask_all(
            questions, processes, count=count, settled=count // 5, stretch=count // 10, concurrency=IN_FLIGHT
        )


def _mixed_notes(outcome: Outcome) -> list[str]:
    readings = ", ".join(f"{sum(reading.values()):.0f}" for reading in outcome.memory_mib)
    parts = ", ".join(f"{part} {mib:.0f}" for part, mib in outcome.memory_mib[-1].items())
    return [
        f"mixed requests: {len(outcome.asked)} kinds, {IN_FLIGHT} at a time; the server's memory after each tenth of "
        f"them, in MiB: {readings}; at the end {parts}"
    ]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
