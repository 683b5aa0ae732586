"""The stages of MUNIT and UNIT as ONNX graphs: they agree with PyTorch in onnxruntime and OpenVINO."""

from pathlib import Path

import numpy as np
import pytest
import torch

from i2i_rt.export import onnx as exporter
from i2i_rt.export.verify import GATES_DB
from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import stages_of
from tests.small.munit import SMALL
from tests.stages.graphs import in_onnxruntime, in_openvino, in_torch, inputs_of, norms_in_float32, psnr

STAGES = [("munit", "translate"), ("munit", "style_from_image"), ("unit", "translate"), ("unit-shared", "translate")]
NORMS = {"munit": 3 + 4 + 4, "unit": 3 + 4 + 4, "unit-shared": 4 + 4}


def stage_of(key: str, name: str) -> Stage:
    return stages_of(key.split("-")[0], SMALL[key]().networks)[name]


@pytest.mark.parametrize(("key", "name"), STAGES)
def test_graph_agrees(tmp_path: Path, key: str, name: str) -> None:
    stage, file = stage_of(key, name), tmp_path / "graph.onnx"
    exporter.build(stage, file, precision="fp32", metadata={})
    for run in (in_onnxruntime(file), in_openvino(file)):
        for height, width in ((64, 96), (20, 8)):
            for batch in (1, 2):
                inputs = inputs_of(stage, height, width, batch)
                expected, actual = in_torch(stage)(inputs), run(inputs)
                assert actual.dtype == expected.dtype and actual.shape == expected.shape
                if name == "translate":
                    assert psnr(actual, expected) >= GATES_DB["fp32"]
                else:
                    np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("key", "name"), STAGES)
def test_half_precision_graph_agrees(tmp_path: Path, key: str, name: str) -> None:
    stage, file = stage_of(key, name), tmp_path / "graph.onnx"
    exporter.build(stage, file, precision="fp16", metadata={})
    inputs = inputs_of(stage, 64, 32, 2)
    expected, actual = in_torch(stage)(inputs), in_onnxruntime(file)(inputs)
    if name == "translate":
        assert psnr(actual, expected) >= GATES_DB["fp16"]
        assert norms_in_float32(file) == NORMS[key]
    else:
        np.testing.assert_allclose(actual, expected, atol=2e-2 * np.abs(expected).max())


def test_style_of_a_picture_moves_the_translation() -> None:
    translate, style_from_image = stage_of("munit", "translate"), stage_of("munit", "style_from_image")
    frames = torch.from_numpy(inputs_of(style_from_image, 32, 32, 1)["reference"])
    styles = style_from_image.module(torch.cat([frames, frames // 4]))
    assert not torch.allclose(styles[0], styles[1], rtol=1e-2)
    first, second = translate.module(torch.cat([frames, frames]), styles).float()
    assert (first - second).abs().mean() > 2
