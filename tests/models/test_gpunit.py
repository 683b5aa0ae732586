"""GP-UNIT's networks: what the skip connections and the levels do, and configs that survive a bundle."""

import json
from dataclasses import asdict
from typing import Any

import pytest
import torch

from i2i_rt.bundle import Network
from i2i_rt.errors import I2IError
from i2i_rt.models import table
from i2i_rt.models.gpunit import Generator, GeneratorConfig
from i2i_rt.models.gpunit_encoders import ContentEncoderConfig, StyleEncoderConfig, StyleSamplerConfig
from i2i_rt.models.gpunit_prior import PriorDistillation, PriorDistillationConfig
from tests.small.gpunit import STYLE, small


def encoded(networks: Any, height: int = 64, width: int = 96) -> tuple[torch.Tensor, list[torch.Tensor]]:
    torch.manual_seed(0)
    content, *features = networks["content_encoder"](torch.rand(1, 3, height, width) * 2 - 1)
    return content, features


def test_networks_survive_a_bundle() -> None:
    for network in small().networks.values():
        described = table.describe(network)
        again = table.build(Network(described.kind, json.loads(json.dumps(described.config))))
        assert asdict(again.config) == asdict(network.config)  # type: ignore[call-overload]
        again.load_state_dict(network.state_dict())


def test_content_has_one_channel_at_a_32nd_of_the_size() -> None:
    content, features = encoded(small().networks)
    assert content.shape == (1, 1, 2, 3)
    assert [feature.shape[2:] for feature in features] == [(4, 6), (8, 12)]


@pytest.mark.parametrize("level", range(6))
def test_every_level_has_an_image(level: int) -> None:
    networks: Any = small().networks
    content, features = encoded(networks)
    image, masks = networks["generator"].decode(content, features, torch.ones(1, STYLE), level)
    assert image.shape == (1, 3, 2 << level, 3 << level)
    # a level's image is taken before its own skip connection
    assert len(masks) == max(0, min(level - 1, 2))


def test_features_reach_the_image_through_the_skip_connections_only() -> None:
    for skip in (True, False):
        networks: Any = small(skip=skip).networks
        content, features = encoded(networks)
        style = torch.ones(1, STYLE)
        image = networks["generator"](content, features, style)
        other = networks["generator"](content, [feature + 1 for feature in features], style)
        assert torch.equal(image, other) is not skip


def test_masks_of_zero_leave_the_decoder_alone() -> None:
    networks: Any = small().networks
    content, features = encoded(networks)
    for skip in networks["generator"].skips:
        skip.mask.weight.zero_()
        skip.mask.bias.fill_(-1)
    plain = Generator(GeneratorConfig(**{**asdict(networks["generator"].config), "skip": False}))
    own = networks["generator"].state_dict()
    plain.load_state_dict({key: own[key] for key in plain.state_dict()})
    style = torch.ones(1, STYLE)
    torch.testing.assert_close(networks["generator"](content, features, style), plain(content, (), style))


def test_one_content_takes_several_styles() -> None:
    networks: Any = small().networks
    content, features = encoded(networks)
    styles = torch.rand(3, STYLE)
    images = networks["generator"](content, features, styles)
    for image, style in zip(images, styles, strict=True):
        torch.testing.assert_close(image[None], networks["generator"](content, features, style[None]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_near(dtype: torch.dtype) -> None:
    networks: Any = small().networks
    content, features = encoded(networks)
    style = torch.ones(1, STYLE)
    image = networks["generator"](content, features, style)
    half = networks["generator"].to(dtype)(content.to(dtype), [feature.to(dtype) for feature in features], style)
    assert half.dtype == dtype and half.isfinite().all()
    assert (half - image).abs().mean() < 0.05


def test_sampled_style_does_not_depend_on_the_others() -> None:
    sampler = small().networks["sampler"]
    noise = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sampler(noise)[:1], sampler(noise[:1]))


def test_shape_of_the_prior_sees_no_style() -> None:
    torch.manual_seed(0)
    network = PriorDistillation(PriorDistillationConfig(width=2, classes=3, embedding=4)).eval()
    image, labels, noise = torch.rand(2, 3, 256, 256) * 2 - 1, torch.tensor([0, 2]), torch.zeros(2, 1, 8, 8)
    with torch.no_grad():
        decoded, shape = network(image, labels, noise)
        content = network.content_encoder(image)[0]
        styles = network.level_styles(image.flip(0))
        other, same = network.decoder(content, network.embedding(labels), styles)
        logits = network.classifier(content)
    assert decoded.shape == image.shape and shape.shape == (2, 3, 16, 16) and logits.shape == (2, 3)
    assert torch.equal(shape, same) and not torch.equal(decoded, other)


@pytest.mark.parametrize(
    ("config", "values"),
    [
        (ContentEncoderConfig, {"width": 0}),
        (StyleEncoderConfig, {"bottleneck": 0}),
        (StyleSamplerConfig, {"hidden": 0}),
        (GeneratorConfig, {"style_dim": 0}),
        (PriorDistillationConfig, {"classes": 0}),
    ],
)
def test_impossible_configs_are_refused(config: Any, values: dict[str, int]) -> None:
    with pytest.raises(I2IError, match="at least 1"):
        config(**values)
