"""Modulation against filters of every picture's own, and the Swapping Autoencoder's networks."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from i2i_rt.errors import I2IError
from i2i_rt.kernels import fused, modulated_conv2d
from i2i_rt.kernels.modulated_conv import Norm
from i2i_rt.models.modulated import StyledConv
from i2i_rt.models.swapping import SwappingEncoder, SwappingEncoderConfig, SwappingGenerator, SwappingGeneratorConfig
from i2i_rt.models.swapping_discriminators import crops
from i2i_rt.runtime.torch_device import settle
from tests.small.swapping import STRUCTURE, TEXTURE, networks


def own_filters(x: Tensor, weight: Tensor, style: Tensor, demodulate: bool) -> Tensor:
    """StyleGAN2's equations 1 and 3 as they stand: filters for each picture, all in one grouped convolution."""
    batch, channels, height, width = x.shape
    filters = weight[None] * style[:, None, :, None, None]
    if demodulate:
        filters = filters * torch.rsqrt(filters.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    y = functional.conv2d(
        x.reshape(1, batch * channels, height, width),
        filters.flatten(0, 1),
        padding=weight.shape[-1] // 2,
        groups=batch,
    )
    return y.unflatten(1, (batch, -1))[0]


@pytest.mark.parametrize("norm", ["styled", "none"])
@pytest.mark.parametrize("size", [1, 3])
def test_scaling_the_input_is_the_same_as_scaling_the_filters(size: int, norm: Norm) -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).requires_grad_()

    tensors = draw(3, 16, 9, 7), draw(8, 16, size, size), draw(3, 16)
    upstream = torch.randn(3, 8, 9, 7, generator=generator)

    mine, reference = modulated_conv2d(*tensors, norm=norm), own_filters(*tensors, norm == "styled")

    pairs = [(mine, reference)]
    pairs += zip(
        torch.autograd.grad(mine, tensors, upstream), torch.autograd.grad(reference, tensors, upstream), strict=True
    )
    for actual, expected in pairs:
        assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(("dtype", "error"), [(torch.float16, 0.005), (torch.bfloat16, 0.03)])
def test_demodulation_survives_reduced_precision(dtype: torch.dtype, error: float) -> None:
    torch.manual_seed(0)
    x, weight, style = torch.randn(2, 512, 6, 6) * 100, torch.randn(8, 512, 3, 3), torch.randn(2, 512) * 1000
    exact = modulated_conv2d(x, weight, style, norm="styled")

    reduced = modulated_conv2d(x.to(dtype), weight.to(dtype), style, norm="styled")

    assert reduced.dtype == dtype
    assert (reduced.float() - exact).abs().max() <= error * exact.abs().max()


def test_styled_convolution_is_one_with_filters_of_length_one() -> None:
    torch.manual_seed(0)
    layer = StyledConv(6, 4, style_channels=5).eval()
    x, code = torch.randn(2, 6, 8, 8), torch.randn(2, 5)
    style = functional.linear(code, layer.modulation.weight / math.sqrt(5), layer.modulation.bias)  # type: ignore[union-attr]
    style = style / style.square().mean(1, keepdim=True).sqrt()
    weight = layer.weight / layer.weight.flatten(1).norm(dim=1)[:, None, None, None]
    expected = functional.leaky_relu(own_filters(x, weight, style, False), 0.2) * math.sqrt(2)

    torch.testing.assert_close(layer(x, code), expected, rtol=1e-4, atol=1e-5)


def test_weights_that_are_settled_give_the_same_pictures() -> None:
    plain, settled = networks(), networks()
    image = torch.randn(2, 3, 32, 48)
    for _ in range(2):  # stages share networks
        for network in settled.values():
            settle(network)
    codes = plain["encoder"](image)
    for ours, theirs in zip(settled["encoder"](image), codes, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(settled["generator"](*codes), plain["generator"](*codes), rtol=1e-4, atol=1e-5)


def test_one_texture_everywhere_is_the_same_as_a_map_of_it() -> None:
    generator = networks()["generator"]
    structure, texture = torch.randn(2, STRUCTURE, 6, 5), torch.randn(2, TEXTURE)

    everywhere = generator(structure, texture[:, :, None, None].expand(-1, -1, 6, 5))

    torch.testing.assert_close(everywhere, generator(structure, texture), rtol=1e-4, atol=1e-5)


def test_codes_of_any_length_give_the_same_picture() -> None:
    generator = networks()["generator"]
    structure, texture = torch.randn(1, STRUCTURE, 6, 5), torch.randn(1, TEXTURE)

    torch.testing.assert_close(generator(7 * structure, 0.2 * texture), generator(structure, texture))


def test_smallest_side_is_the_smallest_that_runs() -> None:
    encoder = networks()["encoder"]
    assert (encoder.multiple, encoder.low) == (4, 28)
    structure, texture = encoder(torch.zeros(1, 3, 28, 28))
    assert structure.shape == (1, STRUCTURE, 7, 7) and texture.shape == (1, TEXTURE)
    with pytest.raises(RuntimeError):
        encoder(torch.zeros(1, 3, 28, 24))


@pytest.mark.parametrize(("downs", "multiple", "low"), [(4, 16, 112), (5, 32, 224), (6, 64, 448)])
def test_sides_follow_the_number_of_reductions(downs: int, multiple: int, low: int) -> None:
    encoder = SwappingEncoder(SwappingEncoderConfig(widths=(4,) * (downs + 1), texture_widths=(4, 4)))
    generator = SwappingGenerator(SwappingGeneratorConfig(texture_channels=4, head_widths=(4, 4), widths=(4,) * downs))
    assert (encoder.multiple, encoder.low, generator.multiple) == (multiple, low, multiple)


@pytest.mark.parametrize("config", [
    lambda: SwappingEncoderConfig(widths=(8,)),
    lambda: SwappingEncoderConfig(texture_widths=()),
    lambda: SwappingGeneratorConfig(widths=()),
])  # fmt: skip
def test_configs_without_reductions_are_refused(config: object) -> None:
    with pytest.raises(I2IError):
        config()  # type: ignore[operator]


def test_noise_moves_in_training_only() -> None:
    generator = networks()["generator"]
    structure, texture = torch.randn(1, STRUCTURE, 6, 5), torch.randn(1, TEXTURE)
    assert torch.equal(generator(structure, texture), generator(structure, texture))
    generator.train()
    assert not torch.equal(generator(structure, texture), generator(structure, texture))


def test_crop_of_the_whole_image_is_the_image() -> None:
    """With align_corners=False the outermost samples lie half a pixel outside, so only the inside is compared."""
    image = torch.linspace(-1, 1, 16).expand(1, 3, 16, 16).contiguous()
    whole, half = torch.ones(1, 1, 1, 2), torch.full((1, 1, 1, 2), 0.5)
    straight = crops(image, 16, torch.ones(1, 1, 1, 1), whole, half, scales=(0.5, 1))
    mirrored = crops(image, 16, torch.zeros(1, 1, 1, 1), whole, half, scales=(0.5, 1))
    assert straight.shape == (1, 1, 3, 16, 16)
    assert (straight[0, 0, :, 2:-2, 2:-2] - image[0, :, 2:-2, 2:-2]).abs().max() < 0.1
    torch.testing.assert_close(mirrored, straight.flip(-1))


@pytest.mark.parametrize("batch", [1, 2])
def test_fused_operators_give_the_same_pictures_in_one_graph(batch: int) -> None:
    small, image = networks(), torch.randn(batch, 3, 32, 48)
    encoder, generator = small["encoder"], small["generator"]
    codes = encoder(image)
    for network, given in ((encoder, (image,)), (generator, codes)):
        plain = network(*given)
        with fused.mode("export"), torch.no_grad():
            graph = torch.compile(network, backend="eager", fullgraph=True)
            torch.testing.assert_close(graph(*given), plain, rtol=1e-4, atol=1e-5)
