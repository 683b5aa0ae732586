"""Bakes a style or a label map into a bundle: a bundle of its own, whose `translate` takes no style any more."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from i2i_rt import label_maps
from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.errors import UnsupportedError
from i2i_rt.export import flops
from i2i_rt.export.trial import Trial
from i2i_rt.export.verify import median_ms, sample_photographs
from i2i_rt.runtime.backends import BACKENDS, Choice, find_artifact, open_session, problem
from i2i_rt.spec import StageSpec
from i2i_rt.stages.baked import baked
from i2i_rt.stages.table import BAKED, load_stages


def bake(bundle: Bundle, output: str | Path, constants: Mapping[str, np.ndarray], note: str) -> Bundle:
    """Writes a bundle whose `translate` has some of its inputs as constants.

    Args:
        bundle: the model.
        output: the new bundle's folder.
        constants: inputs of `translate` by name, each with one entry on its first axis: `style` `[1, S]`,
            `labels` and `edges` `[1, H, W]`.
        note: what was baked in, in words.

    Raises:
        UnsupportedError: where `translate` has no such input, or nothing would be left to give it.
    """
    stage = load_stages(bundle)["translate"]
    names = [tensor.name for tensor in stage.spec.inputs]
    for tensor in stage.spec.inputs:
        if tensor.name in constants:
            tensor.check(constants[tensor.name])
    for name in constants:
        if name not in names:
            raise UnsupportedError(f"{bundle.path} has no {name} to bake in; it takes {', '.join(names)}")
    left: StageSpec = baked(stage, {name: torch.from_numpy(array) for name, array in constants.items()}).spec
    if not left.inputs:
        raise UnsupportedError(
            f"with {' and '.join(constants)} baked in, {bundle.path} would give one and the same picture; "
            "a label map can be baked into models that take a style too"
        )
    source = bundle.provenance
    return Bundle.create(
        output,
        system=bundle.system,
        networks=bundle.networks,
        stages={"translate": left},
        weights={**bundle.weights(), **{BAKED + name: array for name, array in constants.items()}},
        provenance=Provenance(source.source, source.sha256, (*source.notes, note)),
        preprocessing=bundle.preprocessing,
        style=None if "style" in constants else bundle.style,
        labels=None if "labels" in constants else bundle.labels,
    )


def label_constants(bundle: Bundle, labels: Path, instances: Path | None) -> dict[str, np.ndarray]:
    """Reads a label map, and an instance map, for `bake`; they are brought to the next size that the model takes.

    Raises:
        UnsupportedError: where the model takes no label maps, or no instances.
        I2IError: where a file holds no label map of the model's.
    """
    info = bundle.labels
    if info is None:
        raise UnsupportedError(f"{bundle.path} is {bundle.system}, which takes no label maps")
    if instances is not None and not info.edges:
        raise UnsupportedError(f"{bundle.path} knows no instances; leave --instances out")
    values = label_maps.read_labels(labels, info)
    _, rows, columns = bundle.stages["translate"].inputs[0].axes
    height, width = rows.fit(values.shape[0]), columns.fit(values.shape[1])
    constants = {"labels": label_maps.resize(values, width, height)[None]}
    if info.edges:
        edges = np.zeros((height, width), np.uint8)
        if instances is not None:
            edges = label_maps.edges_of(label_maps.resize(label_maps.read_instances(instances), width, height))
        constants["edges"] = edges[None]
    return constants


def compare(model: Bundle, constant: Bundle) -> list[str]:
    """Says what baking saves: multiply-accumulates, operations of the graph, and time, measured side by side."""
    import onnx

    lines = []
    spec, reduced = model.stages["translate"], constant.stages["translate"]
    height, width = (axis.fit(256) for axis in spec.inputs[0].axes[1:3])
    sizes = {axis.name: axis.size for tensor in reduced.outputs for axis in tensor.axes if axis.size is not None}
    size = sizes.get("H", height), sizes.get("W", width)
    photographs = sample_photographs()
    choices = [
        Choice(backend, precision, "")
        for backend in BACKENDS.values()
        for precision in backend.precisions
        if backend.format is not None
        and all(find_artifact(bundle, backend, precision) is not None for bundle in (model, constant))
        and problem(backend, precision) is None
    ]
    with open_session(model, Choice(BACKENDS["torch"], "fp32", "")) as reference:
        full = Trial(model, reference, photographs).inputs("translate", size, 1)
    rest = {name: array for name, array in full.items() if name in {tensor.name for tensor in reduced.inputs}}
    for artifact in constant.artifacts():
        if (artifact.format, artifact.stage) != ("onnx", "translate"):
            continue
        files = [bundle.path / artifact.file for bundle in (model, constant)]
        shapes = [{name: array.shape for name, array in inputs.items()} for inputs in (full, rest)]
        before, after = (flops.count(file, shape) for file, shape in zip(files, shapes, strict=True))
        nodes = [len(onnx.load(file, load_external_data=False).graph.node) for file in files]
        lines.append(
            f"{artifact.precision} at {size[0]}x{size[1]}: {2 * before / 1e9:.3f} GFLOPs before, "
            f"{2 * after / 1e9:.3f} after; {nodes[0]} operations in the graph before, {nodes[1]} after"
        )
    for choice in choices:
        with open_session(model, choice) as slow, open_session(constant, choice) as fast:
            times = median_ms([(slow, "translate", full), (fast, "translate", rest)], seconds=3.0)
        lines.append(
            f"{choice.backend.name} {choice.precision}: {times[0]:.1f} ms before, {times[1]:.1f} ms after, "
            f"{times[1] / times[0]:.2f} of the time"
        )
    return lines
