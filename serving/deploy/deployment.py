"""Bundles to a folder that can be built, shipped and run: complete, or not there."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from i2i_rt.bundle import Bundle, write_json
from i2i_rt.errors import I2IError
from i2i_rt.export.profiles import Profile
from i2i_rt.serving.code import write_code
from i2i_rt.serving.deploy import compose, image, kserve, kubernetes, natives
from i2i_rt.serving.deploy.lint import lint
from i2i_rt.serving.deploy.models import BUNDLES, GPU, NativeModels, add_style_cache, write_python
from i2i_rt.serving.deploy.pod import Needs
from i2i_rt.serving.deploy.settings import Settings
from i2i_rt.serving.deploy.sizing import MIB, in_python, memory, shared_memory
from i2i_rt.serving.repository import CODE, MODELS, SERVER, Repository, ServerOptions, replacing, safe_names
from i2i_rt.serving.served import ServedModel

CACHE_BYTES = 64 * MIB  # for answers of models that make styles
START_S = 120  # of the server without any native model


@dataclass(frozen=True)
class Deployment:
    """What was written.

    Attributes:
        repository: the models.
        ways: how each bundle's graphs are run, in words.
        needs: what a pod or container needs.
    """

    repository: Repository
    ways: Mapping[str, str]
    needs: Needs


def deploy(
    bundles: Mapping[str, Path],
    folder: Path,
    settings: Settings,
    *,
    backend: str = "auto",
    precision: str = "auto",
    profiles: Sequence[Profile] = (),
) -> Deployment:
    """Writes a deployment; an older one at `folder` is replaced, but for its key.

    Args:
        bundles: their folders by the names under which they are served.
        folder: where to write.
        settings: what was chosen.
        backend: a name in `natives.NATIVES`, "python" or "auto".
        precision: of the artifacts, or "auto".
        profiles: sizes that ONNX Runtime has TensorRT build engines for.

    Raises:
        I2IError: where a bundle cannot be served in this way, or `folder` holds something else.
    """
    names = safe_names(bundles)
    with replacing(folder) as fresh:
        served: list[ServedModel] = []
        ways, start_s = {}, START_S
        for name, path in names.items():
            bundle = Bundle.open(path)
            found = natives.choose(bundle, settings.device, backend, precision)
            if found is None:
                models = write_python(fresh, name, bundle, settings, precision)
                ways[name] = f"Python models, {models[0].precision}"
            else:
                native, chosen = found
                alone = len(names) == 1
                models = NativeModels(fresh, name, bundle, settings, native, chosen, profiles, alone).write()
                ways[name] = f"{native.name} {chosen}{natives.place(bundle, native, chosen)}"
                start_s += native.start_s * len(natives.stages_of(bundle))
            served += models
        cached = add_style_cache(fresh, served)
        write_code(fresh / CODE, copy=True)
        arguments = server_arguments(settings, len(names), cached=cached)
        write_json(fresh / SERVER, asdict(ServerOptions(tuple(arguments), start_s)))
        python = in_python(fresh, served)
        networks = sum(file.stat().st_size for file in fresh.glob("**/*") if file.is_file())
        needs = Needs(memory(served, python, networks), shared_memory(python), start_s)
        _write_image(fresh, settings, python=any(model.kind == "stage" for model in python))
        _write_target(fresh, settings, needs, old=folder)
        _let_all_read(fresh, (MODELS, CODE, BUNDLES))
        faults = lint(fresh)
        if faults:
            raise I2IError(f"what would be written has faults, which is a fault of this program: {'; '.join(faults)}")
    return Deployment(Repository.open(folder), ways, needs)


def server_arguments(settings: Settings, bundles: int, *, cached: bool) -> list[str]:
    """Gives the options that the server itself needs for these models."""
    arguments = []
    if cached:
        arguments.append(f"--cache-config=local,size={CACHE_BYTES}")
    if settings.device == "gpu" and bundles > 1:
        arguments += ["--rate-limit=execution_count", f"--rate-limit-resource={GPU}:1"]
    return arguments


def _write_image(folder: Path, settings: Settings, *, python: bool) -> None:
    (folder / "requirements.txt").write_text(image.requirements(settings, python=python))
    (folder / "Dockerfile").write_text(image.dockerfile(settings))
    kept = (MODELS, CODE, BUNDLES, SERVER, "requirements.txt")
    (folder / ".dockerignore").write_text(image.dockerignore(kept))


def _write_target(folder: Path, settings: Settings, needs: Needs, *, old: Path) -> None:
    if settings.target == "compose":
        write_yaml(folder / "compose.yaml", compose.compose(settings, needs))
        file = Path(".env")
        text = f"{compose.KEY_VARIABLE}={secrets.token_urlsafe(32)}\n"
    elif settings.target in ("kubernetes", "kserve"):
        manifests = (kubernetes if settings.target == "kubernetes" else kserve).manifests(settings, needs)
        (folder / settings.target).mkdir()
        for name, content in manifests.items():
            write_yaml(folder / settings.target / name, content)
        file = Path(settings.target) / image.KEY_FILE
        text = f"{secrets.token_urlsafe(32)}\n"
    else:
        return
    # clients have the old key
    _write_secret(folder / file, (old / file).read_text() if (old / file).is_file() else text)


def _let_all_read(folder: Path, names: Sequence[str]) -> None:
    """Lets the image's user read what was written under a stricter mask."""
    for name in names:
        for path in (folder / name, *(folder / name).rglob("*")):
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


def write_yaml(file: Path, content: Any) -> None:
    import yaml

    class Plain(yaml.SafeDumper):  # type: ignore[misc]
        """Writes what appears twice twice, without anchors."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    file.write_text(yaml.dump(content, Dumper=Plain, sort_keys=False, width=1000))


def _write_secret(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)
