"""BicycleGAN's networks: configs that cannot be, and discriminators found from keys and shapes."""

from typing import Any

import pytest
import torch

from i2i_rt.errors import I2IError
from i2i_rt.models import table
from i2i_rt.models.bicyclegan import (
    BicycleGANDiscriminator,
    BicycleGANDiscriminatorConfig,
    BicycleGANEncoderConfig,
    BicycleGANGeneratorConfig,
    read_official_discriminator,
)
from tests.small.bicyclegan import SMALL


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (BicycleGANGeneratorConfig, {"depth": 2}, "depth is 2"),
        (BicycleGANGeneratorConfig, {"norm": "layer"}, "norm is 'layer'"),
        (BicycleGANGeneratorConfig, {"style_at": "output"}, "style_at is 'output'"),
        (BicycleGANGeneratorConfig, {"upsample": "nearest"}, "upsample is 'nearest'"),
        (BicycleGANEncoderConfig, {"widths": (4,)}, "widths has 1 entries"),
    ],
)
def test_wrong_config_is_a_sentence(config: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(I2IError, match=message):
        config(**fields)


@pytest.mark.parametrize("widths", [(4,), (8, 4), (8, 4, 2)])
@pytest.mark.parametrize(("norm", "bias"), [("instance", True), ("batch", True), ("batch", False)])
def test_discriminator_is_found(widths: tuple[int, ...], norm: Any, bias: bool) -> None:
    config = BicycleGANDiscriminatorConfig(3, widths, 2, norm, bias)
    scales = {f"scales.{n}.layers.": f"model_{n}." if len(widths) > 1 else "model." for n in range(len(widths))}
    state = {}
    for key, tensor in BicycleGANDiscriminator(config).state_dict().items():
        ours = next(scale for scale in scales if key.startswith(scale))
        state[key.replace(ours, scales[ours])] = tensor
    found = read_official_discriminator(state)
    assert found is not None and found[0] == config
    BicycleGANDiscriminator(config).load_state_dict(found[1])


@pytest.mark.parametrize("name", SMALL)
def test_bundle_rebuilds_the_networks(name: str) -> None:
    for network in SMALL[name]().networks.values():
        rebuilt = table.build(table.describe(network))
        rebuilt.load_state_dict(network.state_dict())


def test_style_passes_at_any_multiple_of_the_reductions() -> None:
    generator = SMALL["bicyclegan"]().networks["generator"]
    assert generator(torch.zeros(2, 3, 32, 48), torch.zeros(2, 4)).shape == (2, 3, 32, 48)
