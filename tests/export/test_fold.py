"""Folding: a graph with constants gives the same picture with fewer operations."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional

from i2i_rt.export.fold import fold


class Styled(nn.Module):
    """AdaIN, a modulated and demodulated convolution and a modulated transposed one, as the networks have them."""

    def __init__(self) -> None:
        super().__init__()
        self.affine = nn.Linear(4, 16)
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.last = nn.ConvTranspose2d(8, 4, 3, 2, 1, 1)
        self.register_buffer("style", torch.randn(1, 4))

    def forward(self, image: Tensor) -> Tensor:
        scale, shift = self.affine(self.style).chunk(2, 1)
        x = functional.instance_norm(self.first(image)) * (1 + scale)[:, :, None, None] + shift[:, :, None, None]
        weight = self.second.weight
        demodulation = torch.rsqrt((weight.square().sum((2, 3)) * scale.square()).sum(1) + 1e-8)
        x = functional.conv2d(functional.relu(x) * scale[:, :, None, None], weight, padding=1)
        x = x * demodulation[None, :, None, None]
        result: Tensor = self.last(functional.relu(x) * shift[:, :, None, None])
        return result


def folded(module: nn.Module, image: Tensor) -> Any:
    shape = {0: Dim("N"), 2: 8 * Dim("h"), 3: 8 * Dim("w")}
    return fold(torch.export.export(module.eval(), (image,), dynamic_shapes=(shape,)).module())


def operations(module: Any) -> list[str]:
    return [str(node.target).split(".")[1] for node in module.graph.nodes if node.op == "call_function"]


def test_constant_styles_go_into_the_weights() -> None:
    torch.manual_seed(0)
    module, image = Styled(), torch.randn(2, 3, 16, 24)
    with torch.no_grad():
        graph, expected = folded(module, image), module(image)
        assert operations(graph) == ["conv2d", "instance_norm", "relu", "conv2d", "relu", "conv_transpose2d"]
        torch.testing.assert_close(graph(image), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(graph(image[:1, :, :8]), module(image[:1, :, :8]), rtol=1e-5, atol=1e-5)


class Awkward(nn.Module):
    """What may not be folded: a tensor that others read too, a scale that varies over the picture, groups."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.grouped = nn.Conv2d(3, 3, 3, padding=1, groups=3)
        self.register_buffer("scale", torch.randn(1, 3, 1, 1))
        self.register_buffer("map", torch.randn(1, 3, 16, 24))

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv(image)
        scaled = x * self.scale
        y = self.conv(scaled) + scaled + x
        result: Tensor = self.grouped(y * self.scale) + self.conv(y * self.map)
        return result


def test_what_others_read_is_left_alone() -> None:
    torch.manual_seed(0)
    module, image = Awkward(), torch.randn(2, 3, 16, 24)
    graph = fold(torch.export.export(module.eval(), (image,)).module())  # type: ignore[arg-type]
    with torch.no_grad():
        torch.testing.assert_close(graph(image), module(image), rtol=1e-5, atol=1e-5)


class Noisy(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image + torch.rand(3)[None, :, None, None]


def test_what_is_drawn_is_no_constant() -> None:
    graph = fold(torch.export.export(Noisy(), (torch.zeros(1, 3, 8, 8),)).module())  # type: ignore[arg-type]
    assert not torch.equal(graph(torch.zeros(1, 3, 8, 8)), graph(torch.zeros(1, 3, 8, 8)))
