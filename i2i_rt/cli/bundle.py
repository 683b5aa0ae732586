"""Makes a bundle of a run, finished or interrupted, as 'i2i-rt export' and every other verb take it.

  i2i-rt bundle runs/afhq -o bundles/afhq
  i2i-rt bundle runs/afhq -o bundles/afhq-raw --raw

Training writes one into the run's folder whenever it saves. This makes one elsewhere, to keep or to hand on; systems
that translate both ways give a second one, with '-back' added to the name.
"""

import argparse
import importlib.util
from pathlib import Path

from i2i_rt.errors import MissingDependencyError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run of 'i2i-rt train'")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the bundle to write")
    parser.add_argument(
        "--raw",
        action="store_true",
        help="take the last step's weights (default: their moving averages, where a system keeps them)",
    )


def run(arguments: argparse.Namespace) -> int:
    if importlib.util.find_spec("torch") is None:
        raise MissingDependencyError("torch", "bundle", "training")
    from i2i_rt.training.products import write_products

    for bundle in write_products(arguments.run, arguments.output, averaged=not arguments.raw):
        parameters = sum(array.size for array in bundle.weights().values())
        print(f"{bundle.path}: {bundle.system}, {parameters / 1e6:.2f} M parameters, {bundle.provenance.source}")
        print(f"  stages: {', '.join(bundle.stages)}")
    print(f"\nnext: i2i-rt export {arguments.output}")
    return 0
