"""Serves bundles by Triton Inference Server, behind a gateway that checks requests and watches the models.

    i2i-rt serve horse2zebra/
    i2i-rt serve horse2zebra/ afhq/ --http 9000 --grpc 9001 --metrics 9002
    i2i-rt serve --repository models/ --host 0.0.0.0 --tls-cert server.pem --tls-key server.key --tls-ca clients.pem

It is ready when every model has given the answer that 'i2i-rt export' recorded. Each model is asked again every few
seconds; where one ends or goes wrong, the server is started again. Ctrl-C and SIGTERM let requests finish. Loading
models, shared memory, tracing and logging need the administrator's key: --admin-key-file, the variable
I2I_RT_ADMIN_KEY, or one that is drawn and that clients of the same user on this machine find by themselves.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from i2i_rt.cli import positive
from i2i_rt.errors import I2IError
from i2i_rt.serving.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from i2i_rt.serving.repository import Repository
    from i2i_rt.serving.service import Options, Service

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MODEL_OPTIONS = ("backend", "precision", "threads", "max_side", "max_pixels", "max_batch", "max_file_bytes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    limits = Limits()
    parser.add_argument("bundle", nargs="*", type=Path, help="the bundles' folders; each is served by its name")
    parser.add_argument("--repository", type=Path, metavar="DIR", help="serve a repository of 'i2i-rt deploy' instead")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    for name, port in (("http", 8000), ("grpc", 8001), ("metrics", 8002)):
        parser.add_argument(f"--{name}", type=_port, default=port, metavar="PORT", help="(default: %(default)s)")
    parser.add_argument(
        "--canary-interval",
        type=_seconds,
        default=2.0,
        metavar="S",
        help="seconds between two questions to a model whose answer is known (default: %(default)g)",
    )
    parser.add_argument(
        "--drain", type=positive, default=20, metavar="S", help="seconds for requests at the end (default: %(default)s)"
    )
    parser.add_argument(
        "--max-in-flight",
        type=positive,
        default=64,
        metavar="N",
        help="requests at a time, beyond which one is refused (default: %(default)s)",
    )
    models = parser.add_argument_group("models of bundles; those of a repository are as 'i2i-rt deploy' wrote them")
    models.add_argument("--backend", help="auto, onnxruntime, openvino, tensorrt, … (default: auto)")
    models.add_argument("--precision", help="auto, fp32, bf16, fp16, int8 or fp8 (default: auto)")
    models.add_argument("--threads", type=positive, help="CPU threads a model (default: the backend's own choice)")
    for name, value, meaning in (
        ("side", limits.side, "pixels of a picture's height or width that are taken"),
        ("pixels", limits.pixels, "pixels of a picture"),
        ("batch", limits.batch, "pictures in a request"),
        ("file-bytes", limits.file_bytes, "bytes of a picture's file"),
    ):
        models.add_argument(f"--max-{name}", type=positive, metavar="N", help=f"{meaning} (default: {value})")
    security = parser.add_argument_group("security")
    security.add_argument("--admin-key-file", type=Path, metavar="FILE", help="the administrator's key")
    security.add_argument("--tls-cert", type=Path, metavar="FILE", help="the server's certificate, PEM")
    security.add_argument("--tls-key", type=Path, metavar="FILE", help="the certificate's key")
    security.add_argument("--tls-ca", type=Path, metavar="FILE", help="clients need a certificate of this authority")


def run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from i2i_rt.serving.installation import find_server
    from i2i_rt.serving.repository import Repository
    from i2i_rt.serving.service import Service

    if bool(arguments.bundle) == (arguments.repository is not None):
        raise I2IError("name the bundles to serve, or one repository with --repository")
    for name in MODEL_OPTIONS:
        if arguments.repository is not None and getattr(arguments, name) is not None:
            raise I2IError(f"--{name.replace('_', '-')} belongs to bundles; a repository's models are as they are")
    options, installation = _options(arguments), find_server()
    progress = Console(stderr=True)

    def say(line: str) -> None:
        progress.print(f"{time.strftime('%H:%M:%S')} {line}", markup=False, highlight=False, soft_wrap=True)

    if options.host not in LOOPBACK and options.tls is None:
        say(f"{options.host} is reached by other machines, and nothing is encrypted: --tls-cert, or a proxy in front")
    with contextlib.ExitStack() as stack:
        # before there is a loop to be told: the folder is removed all the same
        before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        stack.callback(signal.signal, signal.SIGTERM, before)
        started = time.monotonic()
        with progress.status("writing the models") as status:
            if arguments.repository is not None:
                repository = Repository.open(arguments.repository)
            else:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="i2i_rt-models-"))
                repository = _write(arguments, Path(folder) / "repository")
            status.update(f"starting {len(repository.models)} models in {installation.where}")

            def ready() -> None:
                status.stop()
                for line in _ready_lines(repository, options):
                    print(line)
                print(f"ready in {time.monotonic() - started:.1f} s; Ctrl-C ends", flush=True)

            service = Service(repository, installation, options, say)
            asyncio.run(_until_stopped(service, ready))
    say("ended")
    return 0


async def _until_stopped(service: "Service", ready: "Callable[[], None]") -> None:
    stop, loop, numbers = asyncio.Event(), asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)

    def end() -> None:
        stop.set()
        for number in numbers:  # a second one ends it at once
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, end)
    await service.run(ready, stop)


def _write(arguments: argparse.Namespace, folder: Path) -> "Repository":
    """Writes the repository of the bundles that were named."""
    from i2i_rt.serving.repository import write_repository

    bundles: dict[str, Path] = {}
    for path in arguments.bundle:
        name = path.resolve().name
        if name in bundles:
            raise I2IError(f"{path} and {bundles[name]} would both be served as {name!r}; rename one")
        bundles[name] = path
    limits = Limits()
    return write_repository(
        bundles,
        folder,
        limits=Limits(
            arguments.max_side or limits.side,
            arguments.max_pixels or limits.pixels,
            arguments.max_batch or limits.batch,
            arguments.max_file_bytes or limits.file_bytes,
        ),
        threads=arguments.threads,
        backend=arguments.backend or "auto",
        precision=arguments.precision or "auto",
    )


def _options(arguments: argparse.Namespace) -> "Options":
    from i2i_rt.serving.gateway.tls import Tls
    from i2i_rt.serving.keys import given_key
    from i2i_rt.serving.service import Options

    tls = None
    if arguments.tls_cert is not None and arguments.tls_key is not None:
        tls = Tls(arguments.tls_cert, arguments.tls_key, arguments.tls_ca)
        tls.context()  # files that cannot be used must be known before minutes of loading
    elif any((arguments.tls_cert, arguments.tls_key, arguments.tls_ca)):
        raise I2IError("--tls-cert and --tls-key belong together, and --tls-ca to both")
    ports = (arguments.http, arguments.grpc, arguments.metrics)
    if len(set(ports)) < len(ports):
        raise I2IError(f"the ports {', '.join(map(str, ports))} must differ")
    return Options(
        arguments.host,
        *ports,
        canary_interval_s=arguments.canary_interval,
        max_in_flight=arguments.max_in_flight,
        drain_s=arguments.drain,
        key=given_key(arguments.admin_key_file),
        tls=tls,
    )


def _ready_lines(repository: "Repository", options: "Options") -> list[str]:
    """Says what is served where, and a command that can be tried at once."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    secure = "" if options.tls is None else "s"
    url = f"http{secure}://{host}:{options.http}"
    images = [model for model in repository.models if model.kind == "image"]
    if images:
        source = "map.png" if images[0].labels is not None else "photo.jpg"
        end = source.replace("photo", "translated").replace("map", "translated")
        attempt = f"curl --fail --data-binary @{source} -o {end} {url}/v2/models/{images[0].name}/infer"
    else:
        attempt = f"curl --fail {url}/v2/models/{repository.models[0].name}"
    return [
        f"models:  {', '.join(model.name for model in repository.models)}",
        f"gRPC:    grpc{secure}://{host}:{options.grpc}",
        f"HTTP:    {url}",
        f"metrics: http://{host}:{options.metrics}/metrics",
        f"try:     {attempt}",
    ]


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; it must be 1 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no interval; it must be 0.1 to 3600 seconds")
    return seconds
