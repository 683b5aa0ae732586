"""The stages of TUNIT as ONNX graphs: they agree with PyTorch in onnxruntime and OpenVINO."""

from pathlib import Path

import numpy as np
import pytest
import torch

from i2i_rt.export import onnx as exporter
from i2i_rt.export.verify import GATES_DB
from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import stages_of
from tests.small.tunit import SIDE, small
from tests.stages.graphs import in_onnxruntime, in_openvino, in_torch, inputs_of, norms_in_float32, psnr

SIZES = ((64, 96), (20, 8))


@pytest.fixture(scope="module")
def stages() -> dict[str, Stage]:
    return stages_of("tunit", small().networks)


@pytest.mark.parametrize("name", ["translate", "style_from_image"])
def test_graph_agrees(stages: dict[str, Stage], tmp_path: Path, name: str) -> None:
    stage, file = stages[name], tmp_path / "graph.onnx"
    exporter.build(stage, file, precision="fp32", metadata={})
    for run in (in_onnxruntime(file), in_openvino(file)):
        for height, width in SIZES:
            for batch in (1, 2):
                inputs = inputs_of(stage, height, width, batch)
                expected, actual = in_torch(stage)(inputs), run(inputs)
                assert actual.dtype == expected.dtype and actual.shape == expected.shape
                if name == "translate":
                    assert psnr(actual, expected) >= GATES_DB["fp32"]
                else:
                    np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["translate", "style_from_image"])
def test_half_precision_graph_agrees(stages: dict[str, Stage], tmp_path: Path, name: str) -> None:
    stage, file = stages[name], tmp_path / "graph.onnx"
    exporter.build(stage, file, precision="fp16", metadata={})
    inputs = inputs_of(stage, 64, 64, 2)
    expected, actual = in_torch(stage)(inputs), in_onnxruntime(file)(inputs)
    if name == "translate":
        assert psnr(actual, expected) >= GATES_DB["fp16"]
        assert norms_in_float32(file) == 13
    else:
        np.testing.assert_allclose(actual, expected, atol=2e-2 * np.abs(expected).max())


def test_style_of_a_picture_moves_the_translation(stages: dict[str, Stage]) -> None:
    frames = torch.from_numpy(inputs_of(stages["style_from_image"], SIDE, SIDE, 1)["reference"])
    styles = stages["style_from_image"].module(torch.cat([frames, frames // 4]))
    assert not torch.allclose(styles[0], styles[1], rtol=1e-2)
    first, second = stages["translate"].module(torch.cat([frames, frames]), styles).float()
    assert (first - second).abs().mean() > 2
