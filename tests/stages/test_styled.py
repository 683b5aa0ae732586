"""The stages of BicycleGAN, StEP and EGSC-IT as graphs: they agree with PyTorch in onnxruntime and OpenVINO."""

from pathlib import Path

import numpy as np
import pytest
import torch

from i2i_rt.export import onnx as exporter
from i2i_rt.export.verify import GATES_DB
from i2i_rt.models.norm import InstanceNorm
from i2i_rt.models.tensorflow import AffineInstanceNorm
from i2i_rt.spec import StageSpec
from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import stages_of
from tests.small import bicyclegan, egscit, step
from tests.stages.graphs import in_onnxruntime, in_openvino, in_torch, inputs_of, norms_in_float32, psnr

STAGES: dict[str, dict[str, Stage]] = {
    name: stages_of(name.split("-")[0], make().networks)
    for family in (bicyclegan, step, egscit)
    for name, make in family.SMALL.items()
}
EACH = [pytest.param(stage, id=f"{name}-{key}") for name, stages in STAGES.items() for key, stage in stages.items()]


@pytest.mark.parametrize("stage", EACH)
def test_graph_agrees(stage: Stage, tmp_path: Path) -> None:
    exporter.build(stage, tmp_path / "graph.onnx", precision="fp32", metadata={})
    for run in (in_onnxruntime(tmp_path / "graph.onnx"), in_openvino(tmp_path / "graph.onnx")):
        for (height, width), batch in (((64, 96), 1), ((64, 96), 2), ((32, 16), 1), ((32, 16), 2)):
            inputs = inputs_of(stage, height, width, batch)
            expected, actual = in_torch(stage)(inputs), run(inputs)
            assert actual.dtype == expected.dtype and actual.shape == expected.shape
            if stage.spec.name == "translate":
                assert psnr(actual, expected) >= GATES_DB["fp32"]
            else:
                np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("stage", EACH)
def test_half_precision_graph_agrees(stage: Stage, tmp_path: Path) -> None:
    exporter.build(stage, tmp_path / "graph.onnx", precision="fp16", metadata={})
    inputs = inputs_of(stage, 64, 64, 2)
    expected, actual = in_torch(stage)(inputs), in_onnxruntime(tmp_path / "graph.onnx")(inputs)
    if stage.spec.name == "translate":
        assert psnr(actual, expected) >= GATES_DB["fp16"]
        norms = sum(isinstance(layer, InstanceNorm | AffineInstanceNorm) for layer in stage.module.modules())
        assert norms_in_float32(tmp_path / "graph.onnx") == norms
    else:
        assert actual.dtype == np.float32
        np.testing.assert_allclose(actual, expected, atol=2e-2 * np.abs(expected).max())


@pytest.mark.parametrize("name", STAGES)
def test_style_moves_the_translation(name: str) -> None:
    translate = STAGES[name]["translate"]
    inputs = {key: torch.from_numpy(array) for key, array in inputs_of(translate, 64, 64, 1).items()}
    first = translate.module(*inputs.values()).float()
    second = translate.module(inputs["frames"], -inputs["style"]).float()
    assert (first - second).abs().mean() > 2


@pytest.mark.parametrize("name", STAGES)
def test_specs_survive_json(name: str) -> None:
    for stage in STAGES[name].values():
        assert StageSpec.from_json(stage.spec.to_json()) == stage.spec


def test_grey_is_that_of_the_official_loader() -> None:
    from PIL import Image

    from i2i_rt.stages.bicyclegan import to_input

    frames = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    generator = bicyclegan.drawings().networks["generator"]
    grey = to_input(torch.from_numpy(frames), generator)  # type: ignore[arg-type]
    expected = np.asarray(Image.fromarray(frames[0]).convert("L"))
    assert np.array_equal(((grey[0, 0].numpy() + 1) * 127.5).round(), expected)
