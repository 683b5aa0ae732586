"""The stages of StarGAN v2 as ONNX graphs: they agree with PyTorch in onnxruntime and OpenVINO."""

from pathlib import Path

import numpy as np
import pytest
import torch

from i2i_rt.export import onnx as exporter
from i2i_rt.export.verify import GATES_DB
from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import stages_of
from tests.small.stargan import SIDE, SMALL, STYLE
from tests.stages.graphs import in_onnxruntime, in_openvino, in_torch, inputs_of, norms_in_float32, psnr

VARIANTS = ("starganv2", "starganv2-masks")
# masks change nothing about styles
GRAPHS = [(VARIANTS[0], name) for name in ("translate", "style_from_image", "style_from_noise")]
GRAPHS.append((VARIANTS[1], "translate"))
SIZES = ((64, 96), (32, 64))


@pytest.fixture(scope="module")
def stages() -> dict[str, dict[str, Stage]]:
    return {variant: stages_of("starganv2", SMALL[variant]().networks) for variant in VARIANTS}


@pytest.mark.parametrize(("variant", "name"), GRAPHS)
def test_graph_agrees(stages: dict[str, dict[str, Stage]], tmp_path: Path, variant: str, name: str) -> None:
    stage = stages[variant][name]
    file = tmp_path / "graph.onnx"
    exporter.build(stage, file, precision="fp32", metadata={})
    for run in (in_onnxruntime(file), in_openvino(file)):
        for height, width in SIZES:
            for batch in (1, 2):
                inputs = inputs_of(stage, height, width, batch, domains=2)
                expected, actual = in_torch(stage)(inputs), run(inputs)
                assert actual.dtype == expected.dtype and actual.shape == expected.shape
                if name == "translate":
                    assert psnr(actual, expected) >= GATES_DB["fp32"]
                else:
                    np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("variant", "name"), GRAPHS)
def test_half_precision_graph_agrees(
    stages: dict[str, dict[str, Stage]], tmp_path: Path, variant: str, name: str
) -> None:
    stage = stages[variant][name]
    file = tmp_path / "graph.onnx"
    exporter.build(stage, file, precision="fp16", metadata={})
    inputs = inputs_of(stage, 64, 64, 2, domains=2)
    expected, actual = in_torch(stage)(inputs), in_onnxruntime(file)(inputs)
    if name == "translate":
        assert psnr(actual, expected) >= GATES_DB["fp16"]
        assert norms_in_float32(file) > 10
    else:
        np.testing.assert_allclose(actual, expected, atol=2e-2 * np.abs(expected).max())


def test_batch_may_mix_domains(stages: dict[str, dict[str, Stage]]) -> None:
    for name in ("style_from_image", "style_from_noise"):
        module = stages["starganv2"][name].module
        inputs = inputs_of(stages["starganv2"][name], SIDE, SIDE, 3)
        given = torch.from_numpy(next(iter(inputs.values())))
        mixed = module(given, torch.tensor([2, 0, 1]))
        alone = [module(given[n : n + 1], torch.tensor([domain])) for n, domain in enumerate((2, 0, 1))]
        torch.testing.assert_close(mixed, torch.cat(alone))
        assert not torch.allclose(mixed, module(given, torch.tensor([0, 1, 2])))


def test_a_style_moves_the_picture(stages: dict[str, dict[str, Stage]]) -> None:
    for variant in VARIANTS:
        module = stages[variant]["translate"].module
        frames, style = map(torch.from_numpy, inputs_of(stages[variant]["translate"], SIDE, SIDE, 1).values())
        assert style.shape == (1, STYLE)
        assert (module(frames, style.flip(1)).float() - module(frames, style).float()).abs().mean() > 2


def test_face_in_the_frames_makes_the_masks(stages: dict[str, dict[str, Stage]]) -> None:
    stage = stages["starganv2-masks"]["translate"]
    assert [axis.size for axis in stage.spec.inputs[0].axes] == [None, SIDE, SIDE, 3]
    frames, style = map(torch.from_numpy, inputs_of(stage, SIDE, SIDE, 1).values())
    with_masks = stage.module(frames, style).float()
    head = stage.module.fan.head  # type: ignore[union-attr]
    bias = head.bias.clone()  # type: ignore[operator, union-attr]
    head.bias.fill_(-1e4)  # type: ignore[operator, union-attr]
    without_heat = stage.module(frames, style).float()
    head.bias.copy_(bias)  # type: ignore[operator, union-attr]
    assert (with_masks - without_heat).abs().mean() > 1
