"""Measures the quality of results.

i2i-rt eval pairs translated/ truth/
i2i-rt eval sets testB/ translated/ --resize clean
i2i-rt eval styles afhq/ val/dog/ --domain cat
i2i-rt eval diversity results/
i2i-rt eval faces photos/ translated/
i2i-rt eval labels truth/ predicted/ --classes 19
i2i-rt eval video ride.mp4 zebra.mp4 --json scores.json

'i2i-rt eval MEASURE --help' says what its figures mean. Those that compare features of trained networks download
their weights once; without a network connection they name the file and where to put it.
"""

import argparse

from i2i_rt.cli import eval_labels, eval_pictures, eval_styles, eval_video


def add_arguments(parser: argparse.ArgumentParser) -> None:
    measures = parser.add_subparsers(dest="measure", required=True, metavar="MEASURE")
    for module in (eval_pictures, eval_styles, eval_labels, eval_video):
        module.add(measures)


def run(arguments: argparse.Namespace) -> int:
    status: int = arguments.evaluate(arguments)
    return status
