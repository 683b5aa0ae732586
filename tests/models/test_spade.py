"""SPADE's networks: sizes, half precision, and what a wrong config says."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from i2i_rt.errors import I2IError
from i2i_rt.models import table
from i2i_rt.models.multiscale import MultiscaleDiscriminator, MultiscaleDiscriminatorConfig
from i2i_rt.models.norm import RunningNorm
from i2i_rt.models.spade import SpadeGenerator, SpadeGeneratorConfig
from i2i_rt.models.spectral import add_spectral_norm, fold_spectral_norm, without_spectral_norm
from tests.small.spade import SMALL


def generator(**config: Any) -> SpadeGenerator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SpadeGenerator(SpadeGeneratorConfig(**{"classes": 3, "width": 2, "hidden": 4, **config})).eval()


@pytest.mark.parametrize(("upsampling", "multiple"), [("normal", 32), ("more", 64), ("most", 128)])
def test_picture_is_as_large_as_the_label_map(upsampling: str, multiple: int) -> None:
    network = generator(upsampling=upsampling)
    assert network.multiple == multiple
    with torch.no_grad():
        assert network(torch.zeros(2, 5, multiple, 2 * multiple)).shape == (2, 3, multiple, 2 * multiple)


def test_first_tensor_of_a_fixed_size_gives_the_same_at_that_size() -> None:
    free, fixed = generator(), generator(first_size=(1, 2))
    fixed.load_state_dict(free.state_dict())
    semantics = torch.rand(1, 5, 32, 64).round()
    with torch.no_grad():
        assert torch.equal(free(semantics), fixed(semantics))
        # another label map is resized to the size that the network makes
        assert fixed(torch.zeros(1, 5, 50, 90)).shape == (1, 3, 32, 64)


@pytest.mark.parametrize("affine", [False, True])
def test_half_precision_keeps_running_statistics_in_float32(affine: bool) -> None:
    norm = RunningNorm(2, affine=affine).eval()
    norm.running_mean.copy_(torch.tensor([1e5, 0.0]))  # type: ignore[union-attr]
    norm.running_var.copy_(torch.tensor([1e6, 1e-6]))  # type: ignore[union-attr]
    half = nn.Sequential(norm).half()
    assert norm.running_mean is not None and norm.running_mean.dtype == torch.float32
    assert half(torch.ones(1, 2, 1, 1).half()).isfinite().all()
    norm.bfloat16().float().to("meta")
    assert norm.running_mean.device.type == "meta"


@pytest.mark.parametrize("kind", SMALL)
def test_networks_run_in_half_precision(kind: str) -> None:
    network = SMALL[kind]().networks["generator"]
    semantics, style = torch.rand(1, 8, 64, 96).round(), torch.randn(1, 16)
    with torch.no_grad():
        exact = network(semantics, style)
        rough = network.bfloat16()(semantics.bfloat16(), style)
    assert rough.dtype == torch.bfloat16 and (rough.float() - exact).abs().mean() < 0.02


def test_discriminator_scores_at_every_scale() -> None:
    network = MultiscaleDiscriminator(MultiscaleDiscriminatorConfig(in_channels=6, width=4, layers=4, scales=2))
    with torch.no_grad():
        outputs = network(torch.zeros(1, 6, 256, 256))
    assert [len(features) for features in outputs] == [5, 5]
    assert [features[-1].shape[2:] for features in outputs] == [(35, 35), (19, 19)]


def test_spectral_norm_is_folded_with_the_stored_vectors() -> None:
    weight, left, right = torch.randn(4, 3, 2, 2), torch.randn(4), torch.randn(12)
    state = {"a.weight_orig": weight, "a.weight_u": left, "a.weight_v": right, "b.weight_orig": weight}
    folded = fold_spectral_norm(state)
    sigma = np.dot(left.numpy(), weight.reshape(4, 12).numpy() @ right.numpy())
    assert list(folded) == ["a.weight", "b.weight_orig"]
    torch.testing.assert_close(folded["a.weight"], weight / float(sigma))


def test_spectral_norm_of_old_files_is_divided_out_already() -> None:
    divided = torch.randn(4, 3, 2, 2)
    state = {"a.weight_orig": 3 * divided, "a.weight": divided, "a.weight_u": torch.randn(4), "a.bias": torch.ones(4)}
    folded = fold_spectral_norm(state)
    assert list(folded) == ["a.weight", "a.bias"]
    assert torch.equal(folded["a.weight"], divided)


def test_network_without_spectral_norm_is_the_one_with_it() -> None:
    torch.manual_seed(0)
    network = MultiscaleDiscriminator(MultiscaleDiscriminatorConfig(in_channels=3, width=2, layers=3))
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d) and layer.bias is None]
    add_spectral_norm(layers)
    network.train()(torch.rand(1, 3, 32, 32))
    plain = without_spectral_norm(network)
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected, found = network.eval()(image), plain(image)
    assert torch.equal(found[1][-1], expected[1][-1])
    norms = [
        torch.linalg.matrix_norm(plain.state_dict()[f"discriminators.0.{i}.0.weight"].flatten(1), 2) for i in (1, 2)
    ]
    torch.testing.assert_close(torch.stack(norms), torch.ones(2), rtol=0.1, atol=0)
    # the layers of the network itself are as they were
    assert all(hasattr(layer, "parametrizations") for layer in layers)


def test_spectral_norm_survives_mixed_precision() -> None:
    layer = nn.Conv2d(3, 4, 3)
    add_spectral_norm([layer])
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.rand(1, 3, 8, 8)).sum().backward()
    assert {tensor.dtype for tensor in layer.state_dict().values()} == {torch.float32}


def test_networks_go_through_their_json_entry() -> None:
    for small in SMALL.values():
        for network in small().networks.values():
            entry = table.describe(network)
            fields = {key: list(value) if isinstance(value, tuple) else value for key, value in entry.config.items()}
            assert table.build(type(entry)(entry.kind, fields)).config == network.config  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"upsampling": "much"}, "normal, more, most"),
        ({"width": 0}, "at least 1"),
        ({"width": 3, "upsampling": "most"}, "even"),
        ({"norm": "layer"}, "batch or instance"),
        ({"style": 8}, "needs first_size"),
        ({"first_size": (0, 1)}, "first_size"),
    ],
)
def test_wrong_config_gets_a_sentence(config: dict[str, Any], message: str) -> None:
    with pytest.raises(I2IError, match=message):
        SpadeGeneratorConfig(**config)
