"""The models of one bundle, as production serves them."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from i2i_rt.bundle import Artifact, Bundle
from i2i_rt.errors import BundleError, UnsupportedError
from i2i_rt.export.profiles import Profile, Shapes, shapes_of
from i2i_rt.runtime import backends
from i2i_rt.runtime.artifact_key import ArtifactKey, describe
from i2i_rt.serving import execution
from i2i_rt.serving.config import (
    Queue,
    add_dynamic_batching,
    add_instances,
    add_warm_up,
    read_config,
    set_parameter,
    write_config,
)
from i2i_rt.serving.deploy import aot_inductor, natives, onnxruntime, tensorrt
from i2i_rt.serving.deploy.content import copy_bundle
from i2i_rt.serving.deploy.natives import Native
from i2i_rt.serving.deploy.settings import Settings
from i2i_rt.serving.deploy.shapes import holds, narrowed
from i2i_rt.serving.execution import Execution
from i2i_rt.serving.golden import main_case
from i2i_rt.serving.models import served_stage
from i2i_rt.serving.repository import MODELS, write_models
from i2i_rt.serving.served import ServedModel
from i2i_rt.style import DRAWS_AT_ONCE

BUNDLES = "bundles"
NOISE = "style_from_noise"
GPU = "gpu"  # the resource that the main models of several bundles take turns in
# clients may shorten the time, as for cameras, whose frames are worth nothing when late; never prolong it
QUEUES = {"gpu": Queue(32, 1.0), "cpu": Queue(32, 5.0)}
DELAY_US = {"gpu": 2000, "cpu": 0}  # to wait for others: where the processor is busy there is a queue anyway
PREFERRED = (4, 8)


@dataclass(frozen=True)
class NativeModels:
    """Writes the models of a bundle whose graphs the server runs itself, and those in Python that ask them.

    Attributes:
        folder: of the repository.
        name: under which the bundle is served.
        bundle: what is served.
        settings: of the deployment.
        native: how the graphs are run.
        precision: of the artifacts.
        profiles: that ONNX Runtime has TensorRT build; an engine has its own.
        alone: whether no other bundle is on the same device.
    """

    folder: Path
    name: str
    bundle: Bundle
    settings: Settings
    native: Native
    precision: str
    profiles: Sequence[Profile]
    alone: bool

    def write(self) -> list[ServedModel]:
        """Writes them all, and the bundle that they read.

        Raises:
            BundleError: where the bundle has no golden cases, or an engine no key.
            UnsupportedError: where a stage was not exported, or an engine takes no golden case.
        """
        main_case(self.bundle)  # without it nothing could tell whether the server is right
        served = {stage: self._write_stage(stage) for stage in natives.stages_of(self.bundle)}
        rows = served[NOISE].limits.batch if NOISE in served else DRAWS_AT_ONCE
        limits = served[self.bundle.main_stage].limits
        asking = write_models(self.folder / MODELS, self.name, self.bundle, replace(self._execution, rows=rows), limits)
        copy_bundle(self.bundle, self.folder / BUNDLES / self.name)
        return [*served.values(), *asking]

    @property
    def _execution(self) -> Execution:
        return Execution(f"{BUNDLES}/{self.name}", "server", self.native.name, self.precision)

    def _write_stage(self, stage: str) -> ServedModel:
        artifact = natives.artifact_of(self.bundle, self.native, self.precision, stage)
        limits = self.settings.limits
        if stage == NOISE:  # small, and asked for the mean of thousands
            limits = replace(limits, batch=max(limits.batch, DRAWS_AT_ONCE))
        served = served_stage(self.name, self.bundle, stage, self.precision, limits)
        golden = self.bundle.golden(stage)
        inputs = golden.inputs if golden is not None else {}
        shapes = self._shapes(served, artifact)
        if shapes:
            if not holds(shapes, {name: array.shape for name, array in inputs.items()}):
                raise UnsupportedError(
                    f"{artifact.file} takes {describe(shapes)}, and not the golden case of {stage!r}, by which a "
                    "server is judged; export again with another --profile, such as 512x512,64x64..1024x1024"
                )
            served = narrowed(served, shapes)
        config, file = self._config(served, shapes)
        self._finish(config, served, inputs, len(shapes))
        target = self.folder / MODELS / config.name
        if config.platform == aot_inductor.PLATFORM:
            self._write_named(served)
        else:
            set_parameter(config, execution.PARAMETER, self._execution.to_text())
        write_config(target, config)
        (target / "1").mkdir()
        shutil.copyfile(self.bundle.path / artifact.file, target / "1" / file)
        return served

    def _shapes(self, served: ServedModel, artifact: Artifact) -> list[Shapes]:
        """Gives the shapes of each profile; none where all sizes are alike."""
        if self.native.name == "onnxruntime-tensorrt":
            return shapes_of(served.spec, self.profiles)
        if self.native.name != "tensorrt":
            return []
        key = ArtifactKey.read(self.bundle.path / artifact.file)
        if key is None:
            raise BundleError(f"{artifact.file} and the key beside it do not belong together; export it again")
        return key.shapes

    def _config(self, served: ServedModel, shapes: list[Shapes]) -> tuple[Any, str]:
        """Gives a config, but for what all have in common, and the name of the graph's file."""
        match self.native.name:
            case "tensorrt":
                return tensorrt.engine_config(served, shapes), tensorrt.FILE
            case "onnxruntime-cuda":
                return onnxruntime.cuda_config(served), onnxruntime.FILE
            case "onnxruntime-tensorrt":
                return onnxruntime.tensorrt_config(served, shapes), onnxruntime.FILE
            case "aot-inductor":
                return aot_inductor.package_config(served), aot_inductor.FILE
            case name:
                openvino = name == "onnxruntime-openvino"
                threads = self.settings.threads
                return onnxruntime.cpu_config(served, threads=threads, openvino=openvino), onnxruntime.FILE

    def _finish(self, config: Any, served: ServedModel, inputs: Mapping[str, np.ndarray], profiles: int) -> None:
        """Adds instances, batching, queue, version and warm-up."""
        device = self.settings.device
        add_instances(config, self.settings.instances, kind="KIND_GPU" if device == "gpu" else "KIND_CPU")
        if self.native.name == "tensorrt":
            tensorrt.add_profiles(config, profiles)
        config.version_policy.specific.versions.append(1)  # a folder that appears beside it is not taken up
        if device == "gpu" and not self.alone and served.spec.name == self.bundle.main_stage:
            limiter = config.instance_group[0].rate_limiter
            limiter.resources.add(name=GPU, count=1, **{"global": True})
            limiter.priority = 1
        if config.platform != aot_inductor.PLATFORM:  # its backend has no queue
            preferred = tuple(size for size in PREFERRED if size <= config.max_batch_size)
            delay_us = DELAY_US[device] if config.max_batch_size else 0
            queue = QUEUES[device] if self.settings.instances > 1 else None
            add_dynamic_batching(config, queue, delay_us=delay_us, preferred=preferred)
        if inputs:
            names = [tensor.name for tensor in config.input]  # those of a package are numbered
            arrays = [inputs[tensor.name] for tensor in served.spec.inputs]
            folder = self.folder / MODELS / config.name
            add_warm_up(config, folder, "golden", dict(zip(names, arrays, strict=True)))

    def _write_named(self, served: ServedModel) -> None:
        """Writes the model that gives a package's tensors their names."""
        config = aot_inductor.named_config(served)
        config.version_policy.specific.versions.append(1)
        set_parameter(config, execution.PARAMETER, self._execution.to_text())
        write_config(self.folder / MODELS / config.name, config)
        (self.folder / MODELS / config.name / "1").mkdir()


def write_python(folder: Path, name: str, bundle: Bundle, settings: Settings, precision: str) -> list[ServedModel]:
    """Writes the models of a bundle whose graphs sessions of i2i_rt run, in the processes of Python models.

    Raises:
        UnsupportedError: where no artifact was verified that this machine can run.
    """
    choice = backends.choose(bundle, "auto", precision, without=("torch",))
    run = Execution(f"{BUNDLES}/{name}", "session", choice.backend.name, choice.precision, settings.threads)
    served = write_models(folder / MODELS, name, bundle, run, settings.limits)
    for model in served:
        if model.kind == "stage":
            config = read_config(folder / MODELS / model.name)
            config.instance_group[0].count = settings.instances
            write_config(folder / MODELS / model.name, config)
    wanted = (choice.backend.format, choice.backend.precisions[choice.precision])
    artifacts = [artifact for artifact in bundle.artifacts() if (artifact.format, artifact.precision) == wanted]
    copy_bundle(bundle, folder / BUNDLES / name, artifacts)
    return served


def add_style_cache(folder: Path, served: Sequence[ServedModel]) -> bool:
    """Lets the server keep the answers of models that make styles; says whether there are any.

    A style costs a network's run and is asked for again and again; frames of a video never repeat.
    """
    styles = [model for model in served if model.kind == "style"]
    for model in styles:
        config = read_config(folder / MODELS / model.name)
        config.response_cache.enable = True
        write_config(folder / MODELS / model.name, config)
    return bool(styles)
