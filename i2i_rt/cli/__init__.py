"""The command line. A verb is a file of this folder; the table holds strings, so `--help` loads none of them."""

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from i2i_rt import __version__
from i2i_rt.errors import I2IError, MissingDependencyError, closest

if TYPE_CHECKING:
    from i2i_rt.translator import Translator

# verb -> (module of this folder, what it does)
VERBS = {
    "train": ("train", "train a system on folders of images"),
    "pack": ("pack", "pack the folders of a training set into WebDataset shards"),
    "triplets": ("triplets", "measure which pictures of a set have similar styles, for the training of StEP"),
    "digits": ("digits", "make a training set of coloured digits with known translations"),
    "bundle": ("bundle", "make a bundle of a run of training, finished or interrupted"),
    "import": ("import_", "make a bundle from an official checkpoint"),
    "export": ("export", "write graphs, compiled packages or engines from a bundle, and verify them"),
    "verify": ("verify", "compare a bundle's exported graphs with its PyTorch network"),
    "translate": ("translate", "translate an image, a folder, a glob or a video"),
    "label": ("label", "give every pixel of pictures a class"),
    "farm": ("farm", "translate many files with many processes, here or on a Ray cluster"),
    "live": ("live", "translate a camera or a network stream"),
    "style": ("style", "make a style of a picture, a seed or a mean; mix and move styles"),
    "edit": ("edit", "swap, mix and move pictures by their codes; edit regions, clone"),
    "serve": ("serve", "serve bundles by Triton Inference Server"),
    "deploy": ("deploy", "write a production repository, an image and manifests for Triton Inference Server"),
    "bench": ("bench", "measure latency, throughput, memory and fidelity of every backend"),
    "eval": ("eval", "measure the quality of results: PSNR, LPIPS, FID, smoothness of styles, mIoU, …"),
    "doctor": ("doctor", "say what this machine has and how to get what is missing"),
}

# optional packages by their import name -> (their name on the index, the extra that has them)
OPTIONAL = {
    "aiohttp": ("aiohttp", "client"),
    "av": ("av", "video"),
    "google": ("protobuf", "client"),
    "grpc": ("grpcio", "client"),
    "matplotlib": ("matplotlib", "train"),
    "onnx": ("onnx", "train"),
    "onnxruntime": ("onnxruntime", "cpu"),
    "onnxscript": ("onnxscript", "train"),
    "openvino": ("openvino", "cpu"),
    "skimage": ("scikit-image", "train"),
    "tensorboard": ("tensorboard", "train"),
    "torch": ("torch", "train"),
    "torch_fidelity": ("torch-fidelity", "train"),
    "torchmetrics": ("torchmetrics", "train"),
    "torchvision": ("torchvision", "train"),
    "tritonclient": ("tritonclient", "client"),
    "yaml": ("pyyaml", "deploy"),
}


def _overview() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {text}" for verb, (_, text) in VERBS.items())
    return f"""usage: i2i-rt VERB [options]

Real-time GAN image-to-image translation.

verbs:
{verbs}

'i2i-rt VERB --help' explains a verb. '--debug' shows the traceback of an error. '--version' prints the version.
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs a verb: 0 done, 1 a gate failed, 2 a mistake that the user can put right, 130 interrupted."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview(), end="")
        return 0 if words else 2
    if words[0] == "--version":
        print(f"i2i-rt {__version__}")
        return 0
    verb, *rest = words
    if verb not in VERBS:
        print(f"i2i-rt: no verb is called {verb!r}; {closest(verb, VERBS)}", file=sys.stderr)
        return 2
    module: Any = importlib.import_module(f"i2i_rt.cli.{VERBS[verb][0]}")
    parser = argparse.ArgumentParser(
        prog=f"i2i-rt {verb}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    try:
        status: int = module.run(parser.parse_args(rest))
        sys.stdout.flush()
        return status
    except (I2IError, ModuleNotFoundError) as error:
        known = OPTIONAL.get((error.name or "").partition(".")[0]) if isinstance(error, ModuleNotFoundError) else None
        if debug or (isinstance(error, ModuleNotFoundError) and known is None):
            raise
        sentence = error if known is None else MissingDependencyError(*known, f"'i2i-rt {verb}'")
        print(f"i2i-rt {verb}: {sentence}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"i2i-rt {verb}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader of our output has gone, as in `| head`; nothing more can be said to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # a full disk, a folder that is read-only: every other mistake with a file has its own sentence
        if debug or error.filename is None:
            raise
        print(f"i2i-rt {verb}: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number here; it must be 1 or more")
    return int(text)


def add_fused_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fused",
        choices=("auto", "off"),
        default="auto",
        help="fused GPU kernels in PyTorch and in what it compiles: auto uses those whose tests pass (default: auto)",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds how a bundle is run, whatever the backend."""
    parser.add_argument(
        "--threads", type=positive, help="CPU threads to compute with (default: the backend's own choice)"
    )
    add_fused_option(parser)
    parser.add_argument(
        "--no-build",
        action="store_true",
        help="fail where a TensorRT engine was built for another machine (default: build it anew, which takes minutes)",
    )


def add_backend_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that every verb which runs a bundle shares."""
    parser.add_argument(
        "--backend", default="auto", help="auto, torch, torch-compile, onnxruntime, openvino, … (default: auto)"
    )
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16, fp16, int8 or fp8 (default: auto)")
    add_run_options(parser)


def add_server_option(parser: argparse.ArgumentParser, *others: str) -> None:
    """Adds `--server`, and other names of it where they have no other meaning."""
    parser.add_argument(
        "--server",
        *others,
        metavar="URL",
        help="with --backend triton: translate at a server that serves this bundle, grpc://HOST:8001 or "
        "http://HOST:8000 (default: translate here)",
    )


def open_translator(arguments: argparse.Namespace, bundle: str | Path) -> "Translator":
    """Opens a bundle as the options of `add_backend_options` say, and of `add_server_option` where a verb has that."""
    from i2i_rt.translator import Translator

    return Translator.load(
        bundle,
        backend=arguments.backend,
        precision=arguments.precision,
        threads=arguments.threads,
        build=not arguments.no_build,
        fused=arguments.fused,
        server=getattr(arguments, "server", None),
    )
