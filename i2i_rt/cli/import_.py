"""Makes a bundle from an official checkpoint. The architecture is found from key names and shapes alone.

    i2i-rt import cut latest_net_G.pth -o horse2zebra/
    i2i-rt import pix2pix latest_net_G.pth -o facades/ --eval

The file is opened as tensors only: nothing in it can run.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("system", help="cyclegan, cut, fastcut, sincut or pix2pix")
    parser.add_argument("checkpoint", help="the generator's .pth or .safetensors file")
    parser.add_argument("-o", "--output", required=True, help="folder of the bundle to write")
    parser.add_argument(
        "--eval",
        action="store_true",
        help="run batch norm and dropout as the official test script does with --eval (default: as without it)",
    )
    parser.add_argument(
        "--no-dropout", action="store_true", help="the U-Net was trained with --no_dropout, which leaves no trace"
    )


def run(arguments: argparse.Namespace) -> int:
    from i2i_rt.importer import import_checkpoint

    bundle = import_checkpoint(
        arguments.system,
        arguments.checkpoint,
        arguments.output,
        evaluation_mode=arguments.eval,
        dropout=not arguments.no_dropout,
    )
    network = bundle.networks["generator"]
    parameters = sum(array.size for array in bundle.weights().values())
    print(f"{bundle.path}: {bundle.system}, {network.kind}, {parameters / 1e6:.2f} M parameters")
    print("  " + ", ".join(f"{key} {value}" for key, value in network.config.items()))
    for note in bundle.provenance.notes:
        print(f"  note: {note}")
    print(f"\nnext: i2i-rt export {bundle.path}")
    return 0
