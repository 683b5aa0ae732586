"""The stages of CyCADA as ONNX graphs: labels and classes are PyTorch's in onnxruntime and OpenVINO."""

from pathlib import Path

import numpy as np
import pytest
import torch

from i2i_rt.export import onnx as exporter
from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import stages_of
from tests.small.cycada import SMALL
from tests.stages.graphs import in_onnxruntime, in_openvino, in_torch, inputs_of

TASKS = [
    ("cycada-drn", "segment"),
    ("cycada-fcn8s", "segment"),
    ("cycada-lenet", "classify"),
    ("cycada-dtn", "classify"),
]


def stage_of(key: str, name: str) -> Stage:
    return stages_of("cycada", SMALL[key]().networks)[name]


# a few pixels lie between two classes, in half precision more of them
@pytest.mark.parametrize(("precision", "wrong"), [("fp32", 0.001), ("fp16", 0.02)])
@pytest.mark.parametrize(("key", "name"), TASKS)
def test_graph_gives_the_same_classes(tmp_path: Path, key: str, name: str, precision: str, wrong: float) -> None:
    stage, file = stage_of(key, name), tmp_path / "graph.onnx"
    exporter.build(stage, file, precision=precision, metadata={})
    for run in (in_onnxruntime(file), in_openvino(file)):
        for height, width, batch in ((64, 96, 1), (96, 32, 2)):
            inputs = inputs_of(stage, height, width, batch)
            expected, actual = in_torch(stage)(inputs), run(inputs)
            assert actual.dtype == expected.dtype == np.uint8 and actual.shape == expected.shape
            assert (actual != expected).mean() <= wrong


@pytest.mark.parametrize(("key", "name"), TASKS)
def test_pictures_have_different_classes(key: str, name: str) -> None:
    stage = stage_of(key, name)
    side = stage.spec.inputs[0].axes[1].size or 32
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (40, 2, 2, 3), np.uint8)  # pictures of four fields
    frames = torch.from_numpy(colours.repeat(side // 2, 1).repeat(side // 2, 2))
    assert len(stage.module(frames).unique()) > 1


def test_generator_has_cyclegans_stages() -> None:
    assert list(stages_of("cycada", SMALL["cycada"]().networks)) == ["translate", "translate_stabilized"]
