"""GP-UNIT's stages: what they compute; `tests/test_capabilities.py` runs their graphs."""

from pathlib import Path

import pytest
import torch

from i2i_rt.export import onnx as exporter
from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import stages_of
from tests.small.gpunit import small
from tests.stages.inputs import inputs_of


@pytest.fixture(scope="module")
def stages() -> dict[str, Stage]:
    return stages_of("gpunit", small().networks)


def test_masks_are_not_in_the_graph(stages: dict[str, Stage], tmp_path: Path) -> None:
    import onnx

    exporter.build(stages["translate"], tmp_path / "graph.onnx", precision="fp32", metadata={})
    graph = onnx.load(tmp_path / "graph.onnx").graph
    assert [output.name for output in graph.output] == ["translated"]
    # the last level's image and the three layers of each block: no level below paints one
    heads = [tensor for tensor in graph.initializer if list(tensor.dims)[2:] == [7, 7]]
    assert len(heads) == 1


def test_without_sampler_there_is_no_noise_stage() -> None:
    assert list(stages_of("gpunit", small(sampler=False).networks)) == ["translate", "style_from_image"]


def test_a_style_moves_the_picture(stages: dict[str, Stage]) -> None:
    frames, style = map(torch.from_numpy, inputs_of(stages["translate"], 64, 96, 1).values())
    translated = [stages["translate"].module(frames, code).float() for code in (style.abs(), style.abs().flip(1))]
    assert (translated[0] - translated[1]).abs().mean() > 2
