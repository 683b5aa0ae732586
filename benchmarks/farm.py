"""A farm against `translate` on the same folder of clips, from command to exit code, in turns.

    python -m i2i_rt.benchmarks.farm horse2zebra/ -o benchmarks/results

Each command runs in a process of its own, and starts what it needs: the farm starts Ray, too. The farm's results are
compared with those of `translate`, frame by frame, before any figure is written.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from i2i_rt.benchmarks.environment import environment
from i2i_rt.benchmarks.measure import Timing
from i2i_rt.benchmarks.report import Report, Row
from i2i_rt.benchmarks.video import write_sample_clip
from i2i_rt.bundle import Bundle
from i2i_rt.errors import I2IError
from i2i_rt.video.probe import probe
from i2i_rt.video.reader import FrameReader

SIZE = 256
# another number of threads rounds otherwise, and x264 chooses otherwise for it; a wrong frame is far below
LEAST_PSNR_DB = 36.0


def measure(bundle: Path, *, clips: int, frames: int, threads: list[int], rounds: int, backend: str) -> list[Row]:
    """Times `translate` and a farm for each number of threads a worker, forwards and backwards in every round.

    Raises:
        I2IError: where a command fails, or a farm's result is another.
    """
    ways = {"translate, one after another": ["translate"]}
    ways |= {f"farm, {count} threads a worker": ["farm", "--threads", str(count)] for count in threads}
    taken: dict[str, list[list[float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "clips").mkdir()
        for number in range(clips):
            write_sample_clip(folder / "clips" / f"{number}.mp4", frames, (SIZE, SIZE))
        for _ in range(rounds):
            samples: dict[str, list[float]] = {name: [] for name in ways}
            for name in (*ways, *reversed(ways)):
                samples[name].append(_timed([*ways[name], str(bundle)], folder, name, backend))
                if ways[name][0] == "farm":
                    _compare(folder / "clips", folder / name, folder / next(iter(ways)))
            for name, seconds in samples.items():
                taken[name].append(seconds)
    timings = {name: Timing.of(seconds) for name, seconds in taken.items()}
    first = next(iter(timings.values()))
    return [
        Row(
            "farm",
            name,
            "",
            SIZE,
            SIZE,
            1,
            timing,
            1000 * clips * frames / timing.mean_ms,
            ratios={} if timing is first else {"translate": first.p50_ms / timing.p50_ms},
        )
        for name, timing in timings.items()
    ]


def _timed(words: list[str], folder: Path, name: str, backend: str) -> float:
    verb, *rest = words
    shutil.rmtree(folder / name, ignore_errors=True)
    (folder / name).mkdir()
    command = [sys.executable, "-m", "i2i_rt", verb, *rest[-1:], str(folder / "clips"), "-o", str(folder / name)]
    started = time.perf_counter()
    result = subprocess.run(
        [*command, *rest[:-1], "--backend", backend], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    seconds = time.perf_counter() - started
    if result.returncode:
        raise I2IError(f"'i2i-rt {verb}' failed: {result.stderr.strip()}")
    return seconds


def _compare(clips: Path, ours: Path, theirs: Path) -> None:
    for clip in clips.iterdir():
        pairs = zip(*(FrameReader(probe(folder / clip.name)) for folder in (ours, theirs)), strict=True)
        errors = [float(np.square(a.image.astype(np.float32) - b.image).mean()) for a, b in pairs]
        psnr_db = 10 * np.log10(255**2 / max(float(np.mean(errors)), 1e-9))
        if psnr_db < LEAST_PSNR_DB:
            raise I2IError(f"{ours / clip.name} is not what translate makes: {psnr_db:.1f} dB")


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m i2i_rt.benchmarks.farm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", type=Path, help="the model, exported")
    parser.add_argument("--clips", type=int, default=4, help="how many clips (default: 4)")
    parser.add_argument("--frames", type=int, default=900, help="frames of each, at 256x256 (default: 900)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of a worker (default: 1 2)")
    parser.add_argument("--rounds", type=int, default=2, help="each takes every way twice (default: 2)")
    parser.add_argument("--backend", default="auto", help="as of translate (default: auto)")
    parser.add_argument("-o", "--output", type=Path, default=Path("bench-farm"), help="folder for the results")
    arguments = parser.parse_args(words)
    stamp = environment(bundle=Bundle.open(arguments.bundle))
    try:
        rows = measure(
            arguments.bundle,
            clips=arguments.clips,
            frames=arguments.frames,
            threads=arguments.threads,
            rounds=arguments.rounds,
            backend=arguments.backend,
        )
    except I2IError as error:
        print(f"benchmarks.farm: {error}", file=sys.stderr)
        return 1
    rule = f"{2 * arguments.rounds} runs of each, in turns; {arguments.clips} clips of {arguments.frames} frames"
    report = Report("Farms", rule, stamp, tuple(rows))
    record, view = report.write(arguments.output, "farm")
    print(report.markdown())
    print(f"wrote {record} and {view}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
