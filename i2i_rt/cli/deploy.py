"""Writes what production needs: a model repository with native backends, an image, and manifests.

    i2i-rt deploy horse2zebra/ -o models/ --target triton-gpu
    i2i-rt deploy horse2zebra/ afhq/ -o models/ --target kubernetes --replicas 2..8
    i2i-rt deploy horse2zebra/ -o models/ --target compose --device cpu --cpus 8
    i2i-rt deploy --check models/

Every target has the models, the code that they import, a Dockerfile and its requirements; compose, kubernetes and
kserve add their manifests. Everything is written, or nothing. On a GPU the graphs are run by the server's own backends:
TensorRT where an engine was exported, else ONNX Runtime; on a CPU by Python models with the fastest verified artifact.

--check looks for faults in a deployment that was changed by hand; exit code 1 where there are any.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from i2i_rt.cli import positive
from i2i_rt.errors import I2IError

if TYPE_CHECKING:
    from i2i_rt.serving.deploy.deployment import Deployment
    from i2i_rt.serving.deploy.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from i2i_rt.export.profiles import BATCH, SIZES
    from i2i_rt.serving.deploy.settings import Settings
    from i2i_rt.serving.limits import Limits

    parser.add_argument("bundles", nargs="*", metavar="BUNDLE", help="folders of bundles, served by the folder's name")
    parser.add_argument("-o", "--output", type=Path, help="the folder to write")
    parser.add_argument("--check", type=Path, metavar="FOLDER", help="look for faults in an older deployment instead")
    parser.add_argument(
        "--target",
        default="triton-gpu",
        help="triton-gpu, triton-cpu, kubernetes, kserve or compose (default: triton-gpu)",
    )
    parser.add_argument("--device", choices=("gpu", "cpu"), help="for compose, kubernetes and kserve (default: gpu)")
    parser.add_argument(
        "--backend",
        default="auto",
        help="auto, tensorrt, onnxruntime-cuda, onnxruntime-tensorrt, aot-inductor; onnxruntime-openvino, onnxruntime "
        "or python on a CPU (default: auto)",
    )
    parser.add_argument("--precision", default="auto", help="of the exported graphs (default: the fastest verified)")
    parser.add_argument("--name", help="of the service (default: the first bundle's name)")
    parser.add_argument("--image", default="", help="NAME:TAG that the manifests run (default: the service's name)")
    parser.add_argument(
        "--release",
        default=Settings.release,
        metavar="YY.MM",
        help=f"of the server's image (default: {Settings.release})",
    )
    parser.add_argument("--namespace", default=Settings.namespace, help="of Kubernetes (default: default)")
    parser.add_argument("--replicas", default="2..8", metavar="LEAST..GREATEST", help="pods (default: 2..8)")
    parser.add_argument("--instances", type=positive, help="copies of each network (default: 2 on a GPU, 1 on a CPU)")
    parser.add_argument("--cpus", type=positive, default=Settings.cpus, help="cores of a container (default: 4)")
    limits = parser.add_argument_group("what requests are refused")
    limits.add_argument("--max-side", type=positive, default=Limits.side, help="pixels (default: 4096)")
    limits.add_argument("--max-pixels", type=positive, default=Limits.pixels, help="of a picture (default: 4096x2304)")
    limits.add_argument("--max-batch", type=positive, default=Limits.batch, help="pictures at once (default: 8)")
    engines = parser.add_argument_group("engines that --backend onnxruntime-tensorrt builds when it starts")
    engines.add_argument("--profile", default=SIZES, metavar="SIZES", help=f"as of 'i2i-rt export' (default: {SIZES})")
    engines.add_argument("--batch", default=BATCH, help=f"as of 'i2i-rt export' (default: {BATCH})")


def run(arguments: argparse.Namespace) -> int:
    if arguments.check is not None:
        return _check(arguments.check)
    if not arguments.bundles or arguments.output is None:
        raise I2IError("name one or more bundles and the folder to write: i2i-rt deploy BUNDLE -o models/")
    from i2i_rt.export.profiles import parse
    from i2i_rt.serving.deploy.deployment import deploy
    from i2i_rt.serving.deploy.settings import Device, Settings
    from i2i_rt.serving.limits import Limits
    from i2i_rt.serving.repository import safe_name

    bundles = {Path(path).resolve().name: Path(path) for path in arguments.bundles}
    if len(bundles) != len(arguments.bundles):
        raise I2IError("two bundles have one name; rename a folder")
    name = arguments.name or safe_name(next(iter(bundles))).lower().replace("_", "-")
    device: Device = arguments.device or ("cpu" if arguments.target == "triton-cpu" else "gpu")
    settings = Settings(
        name=name,
        target=arguments.target,
        device=device,
        limits=Limits(arguments.max_side, arguments.max_pixels, arguments.max_batch),
        instances=arguments.instances or (2 if device == "gpu" else 1),
        cpus=arguments.cpus,
        replicas=_replicas(arguments.replicas),
        release=arguments.release,
        image=arguments.image,
        namespace=arguments.namespace,
    )
    deployment = deploy(
        bundles,
        arguments.output,
        settings,
        backend=arguments.backend,
        precision=arguments.precision,
        profiles=parse(arguments.profile, arguments.batch),
    )
    _report(arguments.output, settings, deployment)
    return 0


def _check(folder: Path) -> int:
    from i2i_rt.serving.deploy.lint import lint

    faults = lint(folder)
    for fault in faults:
        print(fault)
    print(f"{folder}: {len(faults)} faults" if faults else f"{folder}: no faults")
    return 1 if faults else 0


def _replicas(text: str) -> tuple[int, int]:
    words = text.split("..")
    if len(words) not in (1, 2) or not all(word.isdecimal() for word in words):
        raise I2IError(f"--replicas is {text!r}; write a number, or two such as 2..8")
    return int(words[0]), int(words[-1])


def _report(folder: Path, settings: "Settings", deployment: "Deployment") -> None:
    """Says what was written, what the bundles run on, and how to go on."""
    from i2i_rt.serving.deploy.sizing import quantity

    for name, way in deployment.ways.items():
        models = [model.name for model in deployment.repository.models if model.bundle == name]
        print(f"{name}: {way}; {', '.join(models)}")
    needs = deployment.needs
    print(
        f"{folder}: for {settings.base_image}, {quantity(needs.memory)} memory, "
        f"{quantity(needs.shared_memory)} of it shared"
    )
    print(f"\nnext: docker build -t {settings.own_image} {folder}")
    match settings.target:
        case "compose":
            print(f"      docker compose -f {folder}/compose.yaml up")
        case "kubernetes" | "kserve":
            print(f"      docker push {settings.own_image}")
            print(f"      kubectl apply -k {folder}/{settings.target}")
        case _:
            gpus = "--gpus 1 " if settings.device == "gpu" else ""
            shm = f"--shm-size {quantity(needs.shared_memory).removesuffix('i').lower()}"
            print(f"      docker run --rm --init {gpus}{shm} -p 127.0.0.1:8000-8002:8000-8002 {settings.own_image}")
