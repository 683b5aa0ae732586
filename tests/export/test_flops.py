"""Multiply-accumulates of graphs, against counts by hand."""

from pathlib import Path

import pytest
import torch
from torch import nn

from i2i_rt.errors import I2IError
from i2i_rt.export import onnx as exporter
from i2i_rt.export.flops import count
from i2i_rt.spec import StageSpec, TensorSpec, frames_spec
from i2i_rt.stages.base import Stage, vector_spec


class Products(nn.Module):
    """One of each: convolutions, a transposed one, products of matrices, resizing to a computed size."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.up = nn.ConvTranspose2d(4, 2, 4, 2, 1)
        self.affine = nn.Linear(5, 2)

    def forward(self, frames: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        x = frames.permute(0, 3, 1, 2).float()
        x = self.up(self.depthwise(self.first(x)))
        x = nn.functional.interpolate(x, scale_factor=2.0) * self.affine(style)[:, :, None, None]
        flat = x.flatten(2)
        return flat @ flat.transpose(1, 2)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("flops") / "products.onnx"
    gram = TensorSpec("gram", "float32", (frames_spec("frames", 4, 8).axes[0],))
    spec = StageSpec("products", (frames_spec("frames", 4, 8), vector_spec("style", 5)), (gram,))
    exporter.build(Stage(spec, Products().eval()), file, precision="fp32", metadata={})
    return file


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 8, 8), (2, 16, 12)])
def test_count_is_that_by_hand(graph: Path, batch: int, height: int, width: int) -> None:
    quarter = height * width // 4
    by_hand = (
        quarter * 4 * (3 * 9)  # first
        + quarter * 4 * 9  # depthwise: each output channel sees one input channel
        + quarter * 4 * (2 * 16)  # up: each input value is spread over 4x4 positions of 2 channels
        + 5 * 2  # affine
        + 2 * 2 * (4 * height * width)  # the Gram matrix at twice the height and width
    )
    assert count(graph, {"frames": (batch, height, width, 3), "style": (batch, 5)}) == batch * by_hand


def test_missing_shape_is_named(graph: Path) -> None:
    with pytest.raises(I2IError, match="'style' with 2 axes"):
        count(graph, {"frames": (1, 8, 8, 3)})
