"""Finds faults in a deployment that neither the server nor a cluster's schemas tell before it is too late.

A misspelt accelerator is found when the GPU is there, a selector that selects nothing never.
"""

from collections.abc import Iterator
from pathlib import Path

from i2i_rt.errors import BundleError
from i2i_rt.serving.config import FILE, read_config
from i2i_rt.serving.deploy.lint_accelerators import accelerator_faults, graph_faults
from i2i_rt.serving.deploy.lint_manifests import compose_faults, manifest_faults
from i2i_rt.serving.deploy.lint_models import ensemble_faults, model_faults, python_faults, server_faults
from i2i_rt.serving.deploy.settings import IMAGE_FLOOR, REGISTRY, release_of
from i2i_rt.serving.deploy.sizing import in_python, shared_memory
from i2i_rt.serving.repository import MODELS, Repository


def lint(folder: Path) -> list[str]:
    """Gives the faults of what `i2i-rt deploy` wrote, and somebody may have changed since; a sentence for each.

    Raises:
        BundleError: where there are no models at all, or a config cannot be read.
    """
    return [*_model_faults(folder), *_image_faults(folder), *_target_faults(folder)]


def _model_faults(folder: Path) -> Iterator[str]:
    models = folder / MODELS
    configs = {file.parent.name: read_config(file.parent) for file in sorted(models.glob(f"*/{FILE}"))}
    if not configs:
        raise BundleError(f"{folder} has no models in {MODELS}/; 'i2i-rt deploy' writes them")
    for name, config in configs.items():
        for check in (model_faults, accelerator_faults, graph_faults, python_faults):
            yield from (f"{MODELS}/{name}: {fault}" for fault in check(config, models / name))
        yield from (f"{MODELS}/{name}: {fault}" for fault in ensemble_faults(config, configs))
    yield from server_faults(configs.values(), Repository.open(folder).options.arguments)


def _image_faults(folder: Path) -> Iterator[str]:
    file = folder / "Dockerfile"
    if not file.is_file():
        yield "there is no Dockerfile"
        return
    lines = [line.split() for line in file.read_text().splitlines() if line.strip()]
    bases = [words[1] for words in lines if words[0] == "FROM"]
    floor = "{}.{:02}".format(*IMAGE_FLOOR)
    for base in bases:
        release = release_of(base.rpartition(":")[2])
        if not base.startswith(f"{REGISTRY}:") or release is None or release < IMAGE_FLOOR:
            yield f"Dockerfile: the base image is {base}; it must be {REGISTRY} of {floor} or later"
    users = [words[1] for words in lines if words[0] == "USER"]
    if not users or users[-1].split(":")[0] in ("0", "root"):
        yield "Dockerfile: the server would run as root"


def _target_faults(folder: Path) -> Iterator[str]:
    shm = shared_memory(in_python(folder, Repository.open(folder).models))
    for target in ("kubernetes", "kserve"):
        if (folder / target).is_dir():
            files = sorted((folder / target).glob("*.yaml"))
            yield from (f"{target}/{fault}" for fault in _manifest_faults(files, shm))
    if (folder / "compose.yaml").is_file():
        yield from _manifest_faults([folder / "compose.yaml"], shm)


def _manifest_faults(files: list[Path], shm: int) -> list[str]:
    """Gives the faults of files that belong together; one that lacks what every one of its kind has is such a fault."""
    import yaml

    try:
        documents = {file.name: yaml.safe_load(file.read_text()) for file in files}
        if "compose.yaml" in documents:
            return list(compose_faults(documents["compose.yaml"], shm))
        return list(manifest_faults(documents, files[0].parent, shm))
    except (yaml.YAMLError, LookupError, TypeError, AttributeError, ValueError) as error:
        return [f"{files[0].parent.name}: it is not what it should be: {type(error).__name__}: {error}"]
