"""Makes a bundle from an official checkpoint. The architecture is found from key names and shapes alone.

    i2i-rt import cut latest_net_G.pth -o horse2zebra/
    i2i-rt import pix2pix latest_net_G.pth -o facades/ --eval
    i2i-rt import starganv2 100000_nets_ema.ckpt -o afhq/ --set domains=cat,dog,wild

Where keys and shapes do not tell all, the options file that the official code saves beside the checkpoint is read,
or the error names what to give with --set. The files are opened as tensors only: nothing in them can run.
"""

import argparse

from i2i_rt.cli.assignment import assignment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("system", help="a system's name; a wrong one lists them all")
    parser.add_argument("checkpoint", nargs="+", help="the official file; several where a system has several")
    parser.add_argument("-o", "--output", required=True, help="folder of the bundle to write")
    parser.add_argument("--options", metavar="FILE", help="the official options file (default: the one beside it)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an official option that the files do not tell; may be given several times",
    )
    parser.add_argument(
        "--eval",
        action="store_true",
        help="run batch norm and dropout as the official test script does with --eval (default: as without it)",
    )
    parser.add_argument(
        "--no-dropout", action="store_true", help="the U-Net was trained with --no_dropout, which leaves no trace"
    )


def run(arguments: argparse.Namespace) -> int:
    from i2i_rt.importers.table import import_checkpoint

    options = dict(assignment(text) for text in arguments.set)
    options |= {name: "true" for name in ("eval", "no_dropout") if getattr(arguments, name)}
    bundle = import_checkpoint(
        arguments.system,
        arguments.checkpoint,
        arguments.output,
        options=options,
        options_path=arguments.options,
    )
    parameters = sum(array.size for array in bundle.weights().values())
    print(f"{bundle.path}: {bundle.system}, {parameters / 1e6:.2f} M parameters")
    for name, network in bundle.networks.items():
        print(f"  {name}: {network.kind}, " + ", ".join(f"{key} {value}" for key, value in network.config.items()))
    print(f"  stages: {', '.join(bundle.stages)}")
    if bundle.style is not None and bundle.style.domains:
        print(f"  domains: {', '.join(bundle.style.domains)}")
    for note in bundle.provenance.notes:
        print(f"  note: {note}")
    print(f"\nnext: i2i-rt export {bundle.path}")
    return 0
