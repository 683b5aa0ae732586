"""StarGAN v2's networks and FAN's masks: configs that survive a bundle, masks that act where they should."""

import json
from dataclasses import asdict
from typing import Any

import pytest
import torch

from i2i_rt.bundle import Network
from i2i_rt.errors import I2IError
from i2i_rt.models import table
from i2i_rt.models.fan import EYES, GROUPS, FaceAlignmentConfig, coordinates, masks_of
from i2i_rt.models.stargan import StarGANDiscriminatorConfig, StarGANGeneratorConfig, StarGANStyleEncoderConfig
from tests.small import stargan, tunit


@pytest.mark.parametrize("make", [lambda: stargan.small(masks=True), tunit.small], ids=["stargan", "tunit"])
def test_networks_survive_a_bundle(make: Any) -> None:
    for network in make().networks.values():
        described = table.describe(network)
        again = table.build(Network(described.kind, json.loads(json.dumps(described.config))))
        assert asdict(again.config) == asdict(network.config)  # type: ignore[call-overload]
        again.load_state_dict(network.state_dict())


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("make", [lambda: stargan.small(masks=True), tunit.small], ids=["stargan", "tunit"])
def test_generator_runs_in_half_precision(make: Any, precision: torch.dtype) -> None:
    generator: Any = make().networks["generator"]
    torch.manual_seed(0)
    image, style = torch.rand(1, 3, 64, 64) * 2 - 1, torch.randn(1, 6)
    expected = generator(image, style)
    actual = generator.to(precision)(image.to(precision), style)
    assert actual.dtype == precision
    assert (actual.float() - expected).abs().mean() < 0.03


@pytest.mark.parametrize("make", [lambda: stargan.small(masks=True), tunit.small], ids=["fan", "tunit"])
def test_large_running_variances_survive_half_precision(make: Any) -> None:
    """They divide what comes in: where they become infinite in float16, nothing of the picture is left."""
    networks = make().networks
    network = networks.get("fan", networks.get("guiding_network"))
    images = torch.rand(2, 3, 64, 64)
    layer = next(module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    layer.running_var.fill_(1e6)
    layer.weight.data *= 1e3
    results = network(images), network.half()(images.half())
    exact, rough = (result if isinstance(result, torch.Tensor) else result[0] for result in results)
    assert (rough.float() - exact).abs().max() < 0.02 * exact.abs().max()


def test_masks_of_nothing_are_no_masks() -> None:
    networks: Any = stargan.small(masks=True).networks
    image, style = torch.rand(1, 3, 64, 64), torch.ones(1, stargan.STYLE)
    empty = torch.zeros(1, 1, 256, 256)
    assert torch.equal(networks["generator"](image, style, (empty, empty)), networks["generator"](image, style))
    # 64x64 is masked by the second, 32x32 by the first
    for masks in ((empty + 1, empty), (empty, empty + 1)):
        assert not torch.equal(networks["generator"](image, style, masks), networks["generator"](image, style))


def test_heat_below_a_tenth_is_none() -> None:
    assert all(mask.eq(0).all() for mask in masks_of(torch.full((1, 98, 64, 64), 0.09)))


@pytest.mark.parametrize(
    ("landmark", "rows", "in_second"),
    [(16, 0, False), (40, 7, False), (51, 0, True), (53, -4, True), (57, -8, True), (79, 8, False), (97, 0, True)],
)
def test_heat_moves_with_its_part_of_the_face(landmark: int, rows: int, in_second: bool) -> None:
    heat = torch.zeros(1, 98, 64, 64)
    heat[0, landmark, 32, 20] = 1
    first, second = masks_of(heat)
    plain = round(32 * 255 / 63)  # corners are aligned
    assert abs(int(first.sum(3).argmax()) - plain - rows) <= 1
    assert bool(second.any()) == in_second


def test_landmarks_on_borders_are_left_out() -> None:
    named = [landmark for landmarks, _, _ in GROUPS for landmark in landmarks]
    assert sorted({*range(98)} - {*named, *EYES}) == [*range(8), *range(25, 34), 46, 76, 82]
    assert len(named) == len(set(named))
    heat = torch.zeros(1, 98, 64, 64)
    heat[0, 3] = torch.rand(64, 64)
    assert not masks_of(heat)[0].any()


def test_coordinates_grow_along_rows_then_columns() -> None:
    rows, columns, radius = coordinates(5)[0]
    assert rows[:, 0].tolist() == columns[0].tolist() == [-1, -0.5, 0, 0.5, 1]
    assert radius[0, 0] == 1 and radius[2, 2] == 0


@pytest.mark.parametrize("make", [
    lambda: StarGANGeneratorConfig(levels=0), lambda: StarGANGeneratorConfig(w_hpf=-1),
    lambda: StarGANStyleEncoderConfig(image_size=100), lambda: StarGANStyleEncoderConfig(style_dim=0),
    lambda: StarGANDiscriminatorConfig(domains=0), lambda: FaceAlignmentConfig(width=6),
])  # fmt: skip
def test_wrong_configs_are_refused(make: Any) -> None:
    with pytest.raises(I2IError):
        make()
