"""MUNIT's and UNIT's networks: the layer norm of their own, official keys, both precisions."""

import pytest
import torch

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.models import munit, unit
from tests import official_munit as official
from tests.small.munit import STYLE, small_munit, small_shared


def without_prefix(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}


@pytest.mark.parametrize("training", [True, False])
def test_layer_norm_divides_by_the_deviation_of_a_sample(training: bool) -> None:
    x = torch.randn(2, 3, 4, 5) * 3 + 1
    layer = munit.LayerNorm(3).train(training)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    flat = x.flatten(1)
    expected = (x - flat.mean(1)[:, None, None, None]) / (flat.std(1)[:, None, None, None] + 1e-5)
    expected = expected * layer.weight[:, None, None] + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x), expected)
    reference = torch.nn.functional.layer_norm(x, x.shape[1:])
    assert (munit.LayerNorm(3)(x) - reference).abs().max() > 1e-3, "PyTorch's divides by n"


@pytest.mark.parametrize("training", [True, False])
def test_layer_norm_of_half_precision_keeps_statistics_in_float32(training: bool) -> None:
    x = 300 * torch.randn(1, 2, 64, 64)  # its sum of squares leaves float16's range
    layer = munit.LayerNorm(2).train(training)
    torch.testing.assert_close(layer.half()(x.half()).float(), layer.float()(x), atol=4e-3, rtol=0)


@pytest.mark.parametrize(("reductions", "blocks"), [(1, 2), (2, 4), (3, 1)])
def test_configs_are_found_from_keys_and_shapes(reductions: int, blocks: int) -> None:
    encoder = munit.ContentEncoder(munit.ContentEncoderConfig(3, 4, reductions, blocks))
    found, weights = munit.read_official_content_encoder(official.content_encoder(encoder, ""))
    assert found == encoder.config and set(weights) == set(encoder.state_dict())
    decoder = munit.Decoder(munit.DecoderConfig(3, 4, reductions, blocks, STYLE, (6,)))
    state = official.decoder(decoder)
    read, weights = munit.read_official_decoder(without_prefix(state, "dec."), without_prefix(state, "mlp."))
    assert read == decoder.config and set(weights) == set(decoder.state_dict())
    plain = munit.Decoder(munit.DecoderConfig(3, 4, reductions, blocks, 0, ()))
    read, weights = munit.read_official_decoder(without_prefix(official.decoder(plain), "dec."))
    assert read == plain.config and set(weights) == set(plain.state_dict())


def test_style_encoder_is_found_from_keys_and_shapes() -> None:
    encoder = munit.StyleEncoder(munit.StyleEncoderConfig(3, (4, 8, 12), 5))
    found, weights = munit.read_official_style_encoder(without_prefix(official.style_encoder(encoder), "enc_style."))
    assert found == encoder.config and set(weights) == set(encoder.state_dict())


def test_discriminator_is_found_from_keys_and_shapes() -> None:
    network = munit.ScalesDiscriminator(munit.ScalesDiscriminatorConfig(3, 4, 3, 2))
    state = {}
    for key, tensor in network.state_dict().items():
        _, scale, layer, parameter = key.split(".")
        inner = "" if layer == "6" else ".conv"
        state[f"cnns.{scale}.{int(layer) // 2}{inner}.{parameter}"] = tensor
    found, weights = munit.read_official_discriminator(state)
    assert found == network.config and set(weights) == set(network.state_dict())
    assert [tuple(logits.shape) for logits in network(torch.zeros(1, 3, 32, 48))] == [(1, 1, 4, 6), (1, 1, 2, 3)]


@pytest.mark.parametrize("norm", ["none", "instance"])
def test_shared_networks_are_found_from_keys_and_shapes(norm: unit.OuterNorm) -> None:
    networks = small_shared(norm).networks
    encoder, decoder = networks["encoder"], networks["decoder"]
    assert isinstance(encoder, unit.SharedEncoder) and isinstance(decoder, unit.SharedDecoder)
    state = official.shared(encoder, decoder)
    assert unit.outer_norm(state) is None
    found, weights = unit.read_official_encoder(state, "B", norm)
    assert found == encoder.config
    assert all(torch.equal(weights[key], tensor) for key, tensor in encoder.state_dict().items())
    read, weights = unit.read_official_decoder(state, "A", norm)
    assert read == decoder.config
    assert all(torch.equal(weights[key], tensor) for key, tensor in decoder.state_dict().items())


def test_what_is_missing_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"model\.0\.conv\.weight"):
        munit.read_official_content_encoder({})
    with pytest.raises(CheckpointError, match=r"encode_A\.0\.model\.0\.weight"):
        unit.read_official_encoder({}, "A", "none")
    with pytest.raises(I2IError, match="norm is 'batch'"):
        unit.SharedEncoderConfig(norm="batch")  # type: ignore[arg-type]


def test_networks_run_in_half_precision() -> None:
    imported = small_munit()
    image, style = torch.rand(2, 3, 16, 24) * 2 - 1, torch.randn(2, STYLE)
    encoder, decoder = imported.networks["content_encoder"], imported.networks["decoder"]
    expected = decoder(encoder(image), style)
    for dtype in (torch.bfloat16, torch.float16):
        actual = decoder.to(dtype)(encoder.to(dtype)(image.to(dtype)), style)
        assert actual.dtype == dtype and (actual.float() - expected).abs().mean() < 0.05
