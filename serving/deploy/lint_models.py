"""Faults of a model's config that a server without its backend does not see."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from i2i_rt.serving import execution
from i2i_rt.serving.config import TYPES, WARM_UP, served_model
from i2i_rt.serving.deploy import aot_inductor
from i2i_rt.serving.execution import Execution

SIZES = {kind: np.dtype(name).itemsize for name, kind in TYPES.items()}


def model_faults(config: Any, folder: Path) -> Iterator[str]:
    """Gives the faults of one config."""
    from tritonclient.grpc import model_config_pb2

    if config.name != folder.name:
        yield f"its name is {config.name!r}; it must be that of the folder"
    for what, tensors in (("input", config.input), ("output", config.output)):
        names = [tensor.name for tensor in tensors]
        if not names:
            yield f"it has no {what}"
        yield from (f"{what} {name!r} is there twice" for name in sorted({n for n in names if names.count(n) > 1}))
        for tensor in tensors:
            if any(length == 0 or length < -1 for length in tensor.dims):
                yield f"{what} {tensor.name!r} has dims {list(tensor.dims)}; each must be -1 or above 0"
            if model_config_pb2.DataType.Name(tensor.data_type) not in TYPES.values():
                yield f"{what} {tensor.name!r} has a type that no model of ours has"
    for group in config.instance_group:
        if group.count < 1:
            yield f"an instance group has {group.count} instances"
        if group.gpus and group.kind == group.KIND_CPU:
            yield "an instance group on the CPU names GPUs"
    yield from _batching_faults(config)
    yield from _version_faults(config, folder)
    yield from _warm_up_faults(config, folder)
    served = served_model(config)
    if served is not None and [t.name for t in served.spec.inputs] != [t.name for t in config.input]:
        yield "what clients are told of its inputs is not what it has"


def _batching_faults(config: Any) -> Iterator[str]:
    if config.platform == aot_inductor.PLATFORM and config.max_batch_size:
        yield "compiled packages of PyTorch are served with max_batch_size 0 only"
    if not config.HasField("dynamic_batching"):
        return
    batching = config.dynamic_batching
    for size in batching.preferred_batch_size:
        if not 1 <= size <= config.max_batch_size:
            yield f"the preferred batch {size} is above max_batch_size {config.max_batch_size}"
    has_queue, instances = batching.HasField("default_queue_policy"), sum(g.count for g in config.instance_group)
    if instances == 1 and has_queue:
        yield "it has a queue policy and one instance, which then sleeps through requests for 500 ms: take two"
    if not has_queue and (instances == 1 or config.backend == "python"):
        return  # the gateway bounds what waits
    policy = batching.default_queue_policy
    if not policy.max_queue_size:
        yield "its queue has no end: max_queue_size is missing"
    if not policy.default_timeout_microseconds or policy.timeout_action != policy.REJECT:
        yield "requests that waited for too long are not refused: a time-out with REJECT is missing"


def _version_faults(config: Any, folder: Path) -> Iterator[str]:
    there = {int(path.name) for path in folder.iterdir() if path.is_dir() and path.name.isdecimal()}
    if not there:
        yield "it has no version"
    for version in config.version_policy.specific.versions:
        if version not in there:
            yield f"version {version} is to be served and is not there"
    if config.default_model_filename:
        for version in sorted(there):
            if not (folder / str(version) / config.default_model_filename).is_file():
                yield f"the file {version}/{config.default_model_filename} is missing"


def _warm_up_faults(config: Any, folder: Path) -> Iterator[str]:
    from tritonclient.grpc import model_config_pb2

    if config.default_model_filename and not config.model_warmup:
        yield "nothing warms it up: its first requests would be slow"
    declared = {tensor.name: tensor for tensor in config.input}
    for sample in config.model_warmup:
        for name, given in sample.inputs.items():
            if name not in declared:
                yield f"its warm-up has an input {name!r}, the model has none"
            elif given.data_type != declared[name].data_type or not _fits(given.dims, declared[name].dims):
                yield f"its warm-up of {name!r} has another type or shape than the model's"
            if given.random_data:
                yield f"its warm-up of {name!r} is random bytes, which as numbers can be infinite"
            if given.input_data_file:
                file = folder / WARM_UP / given.input_data_file
                size = SIZES.get(model_config_pb2.DataType.Name(given.data_type), 0) * max(sample.batch_size, 1)
                for length in given.dims:
                    size *= length
                if not file.is_file() or file.stat().st_size != size:
                    yield f"its warm-up file {file.name} is missing or has not {size} bytes"
        missing = [name for name, tensor in declared.items() if not tensor.optional and name not in sample.inputs]
        if missing:
            yield f"its warm-up lacks {', '.join(missing)}"


def _fits(shape: Collection[int], dims: Collection[int]) -> bool:
    return len(shape) == len(dims) and all(d in (-1, s) for s, d in zip(shape, dims, strict=True))


def python_faults(config: Any, folder: Path) -> Iterator[str]:
    """Gives the faults of a model in Python: its code and its bundle must have come along."""
    if config.backend != "python":
        return
    if not (folder / "1" / "model.py").is_file():
        yield "the file 1/model.py is missing"
    root = folder.parent.parent
    if execution.PARAMETER not in config.parameters:
        yield f"it lacks the parameter {execution.PARAMETER}"
        return
    try:
        bundle = Execution.from_text(config.parameters[execution.PARAMETER].string_value).bundle
    except (ValueError, TypeError) as error:
        yield f"its parameter {execution.PARAMETER} is damaged: {error}"
        return
    if Path(bundle).is_absolute():
        yield f"its bundle is {bundle}, a path of the machine that wrote it"
    elif not (root / bundle / "bundle.json").is_file():
        yield f"its bundle {bundle} is missing"
    if not (root / "code" / "i2i_rt" / "__init__.py").is_file():
        yield "the code that it imports is missing"


def ensemble_faults(config: Any, configs: Mapping[str, Any]) -> Iterator[str]:
    """Gives the faults of a model that passes tensors on to others: names that are not there."""
    if config.platform == "ensemble" and not config.ensemble_scheduling.step:
        yield "it asks no other model"
    for step in config.ensemble_scheduling.step:
        inner = configs.get(step.model_name)
        if inner is None:
            yield f"it asks {step.model_name!r}, which is not there"
            continue
        for what, given, declared in (
            ("input", step.input_map, {tensor.name for tensor in inner.input if not tensor.optional}),
            ("output", step.output_map, {tensor.name for tensor in inner.output}),
        ):
            if set(given) != declared:
                yield f"it names other {what}s of {step.model_name!r} than {', '.join(sorted(declared))}"
        ours = {tensor.name for tensor in (*config.input, *config.output)}
        for name in {*step.input_map.values(), *step.output_map.values()} - ours:
            yield f"{name!r}, which it passes on, is neither its input nor its output"


def server_faults(configs: Iterable[Any], arguments: Collection[str]) -> Iterator[str]:
    """Gives what the models need of the server's options and do not get."""
    cached = [config.name for config in configs if config.response_cache.enable]
    if cached and not any(argument.startswith("--cache-config=") for argument in arguments):
        yield f"server.json: {', '.join(cached)} would not be cached, without a word: --cache-config is missing"
    wanted = {
        resource.name
        for config in configs
        for group in config.instance_group
        for resource in group.rate_limiter.resources
    }
    given = {word.split("=")[1].split(":")[0] for word in arguments if word.startswith("--rate-limit-resource=")}
    if wanted and (wanted - given or "--rate-limit=execution_count" not in arguments):
        yield f"server.json: models take turns by {', '.join(sorted(wanted))}, and the server does not count it"
