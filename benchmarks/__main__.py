"""Takes these figures of `benchmarks/results/` again: backends, a video, a training step, baked styles.

    python -m i2i_rt.benchmarks
    python -m i2i_rt.benchmarks --quick -o /some/folder

The network is CycleGAN's generator with 9 residual blocks and width 64, with drawn weights: time does not depend on
them, and fidelity is, if anything, worse than with trained ones. It is kept in `runs/resnet9`. Close what else runs.
Serving, farms, SPADE, 8 bits, frozen statistics and the training of all systems have modules of their own beside this.
"""

import argparse
import sys
import time
from pathlib import Path

from i2i_rt.benchmarks import baked, training
from i2i_rt.cli import main as command
from i2i_rt.testing import tiny_bundle

BUNDLE = Path("runs/resnet9")


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m i2i_rt.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer runs and frames; the output says that it was quick")
    parser.add_argument("--width", type=int, default=64, help="channels of the network (default: 64)")
    parser.add_argument("--blocks", type=int, default=9, help="its residual blocks (default: 9)")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results"), help="folder for the results")
    arguments = parser.parse_args(words)
    quick = ["--quick"] if arguments.quick else []
    started = time.perf_counter()
    bundle = str(tiny_bundle(BUNDLE, width=arguments.width, blocks=arguments.blocks).path)
    folder = arguments.output
    frames, batches = ("60", "1") if arguments.quick else ("300", "1,2,4")
    runs = [
        ["export", bundle],
        ["bench", "video", bundle, "--frames", frames, *quick, "-o", str(folder)],
        ["bench", bundle, "--size", "256", "--batch", batches, *quick, "-o", str(folder)],
    ]
    status = max(command(run) for run in runs)
    steps = "2" if arguments.quick else "10"
    shape = ["--width", str(arguments.width), "--blocks", str(arguments.blocks)]
    status = max(status, training.main([*shape, "--steps", steps, "-o", str(arguments.output)]))
    status = max(status, baked.main([*quick, "--width", str(arguments.width), "-o", str(folder)]))
    print(f"\nall of it took {(time.perf_counter() - started) / 60:.0f} minutes")
    return status


if __name__ == "__main__":
    sys.exit(main())
