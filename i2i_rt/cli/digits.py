"""Make a training set of coloured digits, whose translations are known, of any pictures of digits.

  i2i-rt digits mnist/ -o digits/
  i2i-rt train egscit-masks --data digits/ --crop-size 32 --set reductions=0 -o runs/masks
  i2i-rt train egscit --data digits/ --crop-size 32 --set reductions=0 --from runs/masks -o runs/egscit

Domain A is black and white, domain B coloured: the sets MNIST-Single and MNIST-Multiple of EGSC-IT. answersAB/ and
answersBA/ hold what each picture of testA/ and testB/ looks like in the style of the other side's of that number. The
paper trains the second stage on single digits with --learning-rate 1e-5 --set content=10 --set style=1000.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "digits", type=Path, metavar="DIGITS", help="folder with folders 0 to 9 of pictures, or with MNIST's IDX files"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DATA", help="folder to make")
    parser.add_argument(
        "--kind", choices=("single", "multiple"), default="single", help="digits in a picture (default: single)"
    )
    parser.add_argument("--side", type=int, default=32, help="pixels a side that a digit has (default: 32)")
    parser.add_argument("--train", type=int, default=10000, help="pictures a domain to train with (default: 10000)")
    parser.add_argument("--test", type=int, default=500, help="held-out pictures a domain (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same set (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    from i2i_rt.errors import I2IError
    from i2i_rt.training.digits import read_digits, write

    if arguments.side < 8 or arguments.seed < 0:
        raise I2IError(f"--side is {arguments.side} and --seed {arguments.seed}; they must be at least 8 and 0")
    digits = read_digits(arguments.digits, arguments.side)
    write(digits, arguments.output, arguments.kind, train=arguments.train, test=arguments.test, seed=arguments.seed)
    print(f"{arguments.output}: {arguments.train} pictures a domain, {arguments.test} held out with their answers")
    return 0
