"""The folder that the server serves: for each bundle its models, and the code that runs them.

models/<name>-translate/config.pbtxt, 1/model.py, warmup/…
code/i2i_rt/…
"""

import contextlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from i2i_rt.bundle import Bundle
from i2i_rt.errors import BundleError, I2IError
from i2i_rt.runtime import backends
from i2i_rt.runtime.backends import BACKENDS
from i2i_rt.serving import execution
from i2i_rt.serving.code import write_code
from i2i_rt.serving.config import (
    FILE,
    add_dynamic_batching,
    add_instances,
    add_sequences,
    add_warm_up,
    new_config,
    read_config,
    served_model,
    set_parameter,
    write_config,
)
from i2i_rt.serving.execution import Execution
from i2i_rt.serving.golden import main_case
from i2i_rt.serving.limits import Limits
from i2i_rt.serving.models import served_models
from i2i_rt.serving.served import ServedModel

MODELS, CODE = "models", "code"
SERVER = "server.json"  # what the models need of the server itself
# the server's Python is isolated: it does not look at PYTHONPATH
MODEL_FILE = """\
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "code"))

from i2i_rt.serving.backend.{module} import {name} as TritonPythonModel
"""
# those that a model of streams refuses are held until they are idle; beyond these, new ones wait
SEQUENCES = 1024


@dataclass(frozen=True)
class ServerOptions:
    """What models need of the server that loads them.

    Attributes:
        arguments: of its command line.
        start_s: that it may take to load them all.
    """

    arguments: tuple[str, ...] = ()
    start_s: float = 120.0


@dataclass(frozen=True)
class Repository:
    """A folder with `models/` for the server and `code/` that they import.

    Attributes:
        folder: holds both.
        models: what is served, by name.
        options: of the server.
    """

    folder: Path
    models: tuple[ServedModel, ...]
    options: ServerOptions = ServerOptions()

    @property
    def models_folder(self) -> Path:
        return self.folder / MODELS

    @property
    def code_folder(self) -> Path:
        return self.folder / CODE

    @classmethod
    def open(cls, folder: Path) -> "Repository":
        """Reads what a repository serves from the configs of its models.

        Raises:
            BundleError: where the folder is no repository.
        """
        files = sorted((folder / MODELS).glob(f"*/{FILE}"))
        found = [served_model(read_config(file.parent)) for file in files]
        if not any(found):
            raise BundleError(f"{folder} is no repository: it has no models of a bundle in {MODELS}/")
        return cls(folder, _sorted(model for model in found if model is not None), _read_options(folder / SERVER))


def _read_options(file: Path) -> ServerOptions:
    if not file.is_file():
        return ServerOptions()
    try:
        content = json.loads(file.read_text())
        return ServerOptions(tuple(map(str, content["arguments"])), float(content["start_s"]))
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{file} is damaged ({error}); 'i2i-rt deploy' writes it") from error


def _sorted(models: Iterable[ServedModel]) -> tuple[ServedModel, ...]:
    return tuple(sorted(models, key=lambda model: model.name))


def safe_name(name: str) -> str:
    """Gives a name that the server and every file system take: letters, digits, - and _."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "bundle"


def write_repository(
    bundles: Mapping[str, Path],
    folder: Path,
    *,
    limits: Limits,
    threads: int | None,
    backend: str = "auto",
    precision: str = "auto",
    cache_size: int = 256,
) -> Repository:
    """Writes the repository of bundles for a server on this machine; an older one at `folder` is replaced.

    Args:
        bundles: their folders by the names under which they are served.
        folder: where to write; it appears when it is complete.
        limits: what the models refuse.
        threads: CPU threads of each model; by default the backend's own choice.
        backend: a name in `i2i_rt.runtime.backends.BACKENDS`; "auto" takes the fastest verified artifact.
        precision: what it computes in, or "auto".
        cache_size: style codes that are kept, of each bundle.

    Raises:
        I2IError: where a bundle is broken or cannot be served, two have one name, or `folder` is something else.
    """
    names = safe_names(bundles)
    models: list[ServedModel] = []
    with replacing(folder) as fresh:
        for name, path in names.items():
            bundle = Bundle.open(path)
            choice = backends.choose(bundle, backend, precision, without=("torch",))
            run = Execution(str(path.resolve()), "session", choice.backend.name, choice.precision, threads, cache_size)
            models += write_models(fresh / MODELS, name, bundle, run, limits)
        write_code(fresh / CODE)
    return Repository(folder, _sorted(models))


def safe_names(bundles: Mapping[str, Path]) -> dict[str, Path]:
    """Gives bundles by names that the server takes.

    Raises:
        I2IError: where two have one name.
    """
    names = {safe_name(name): path for name, path in bundles.items()}
    if len(names) != len(bundles):
        raise I2IError(f"two bundles would be served under one name, of {', '.join(sorted(bundles))}; rename one")
    return names


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Gives a new folder that takes the place of a repository once it is complete; a failure leaves the old one.

    Raises:
        I2IError: where there is something else at `folder`.
    """
    if folder.exists() and not (folder / MODELS).is_dir() and (folder.is_file() or any(folder.iterdir())):
        raise I2IError(f"{folder} exists and is no repository; name another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        fresh = Path(temporary) / "new"
        fresh.mkdir()
        yield fresh
        if folder.exists():
            folder.rename(Path(temporary) / "old")
        fresh.rename(folder)


def write_models(folder: Path, name: str, bundle: Bundle, run: Execution, limits: Limits) -> list[ServedModel]:
    """Writes the Python models of a bundle; those of its stages only where sessions in them run the stages.

    Args:
        folder: of the models of all bundles.
        name: under which the bundle is served.
        bundle: what is served.
        run: how.
        limits: what the models refuse.
    """
    models = served_models(name, bundle, run.precision, limits)
    if run.stages == "server":
        models = [model for model in models if model.kind != "stage"]
    for model in models:
        _write_model(folder, model, run, bundle)
    return models


def _write_model(folder: Path, served: ServedModel, run: Execution, bundle: Bundle) -> None:
    """Writes a model that a class of `i2i_rt.serving.backend` runs."""
    target = folder / served.name
    config = new_config(served)
    set_parameter(config, execution.PARAMETER, run.to_text())
    # what only asks other models waits for them most of the time
    add_instances(config, 2 if served.kind in ("pipeline", "image") else 1)
    if served.kind == "stream":
        add_sequences(config, idle_s=run.idle_s, sequences=SEQUENCES)
    else:
        # a CPU computes one request after the other: joined, the first would wait for the answer to the last
        alone = config.max_batch_size > 0 and BACKENDS[run.backend].device == "cpu"
        # the gateway refuses what is too much
        add_dynamic_batching(config, None, preferred=(1,) if alone else ())
    if served.kind == "stage":
        add_warm_up(config, target, "golden", main_case(bundle).inputs)
    write_config(target, config)
    (target / "1").mkdir()
    name = f"{served.kind.capitalize()}Model"
    (target / "1" / "model.py").write_text(MODEL_FILE.format(module=served.kind, name=name))
