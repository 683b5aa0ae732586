"""Frozen networks: what they give, what they cost a training (nothing), and what one reads without their weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from i2i_rt import pretrained
from i2i_rt.errors import I2IError
from i2i_rt.pretrained import FrozenNetwork

NETWORKS = [pretrained.vgg16, pretrained.vgg19, pretrained.vgg19_caffe, pretrained.alexnet, pretrained.inception_stem]


@pytest.mark.parametrize("make", NETWORKS)
def test_random_weights_are_the_same_each_time_and_draw_nothing(make: Callable[[str], FrozenNetwork]) -> None:
    images = torch.linspace(-1, 1, 3 * 48 * 48).view(1, 3, 48, 48)
    state = torch.random.get_rng_state()
    first, second = make("random"), make("random")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.features == "random"
    for a, b in zip(first(images), second(images), strict=True):
        assert torch.equal(a, b)
        assert a.std() > 0.01


@pytest.mark.parametrize(
    ("make", "channels", "sides"),
    [
        (pretrained.vgg16, [64, 128, 256, 512, 512], [32, 16, 8, 4, 2]),
        (pretrained.vgg19, [64, 128, 256, 512, 512], [32, 16, 8, 4, 2]),
        (pretrained.alexnet, [64, 192, 384, 256, 256], [7, 3, 1, 1, 1]),
        (pretrained.inception_stem, [64], [13]),
    ],
)
def test_activations_are_of_the_published_layers(
    make: Callable[[str], FrozenNetwork], channels: list[int], sides: list[int]
) -> None:
    found = make("random")(torch.zeros(2, 3, 32, 32))
    assert [tuple(x.shape) for x in found] == [(2, *pair, pair[1]) for pair in zip(channels, sides, strict=True)]


def test_inception_gives_features_and_logits() -> None:
    features, logits = pretrained.inception("random")(torch.zeros(1, 3, 299, 299))
    assert features.shape == (1, 2048)
    assert logits.shape == (1, 1008)


def test_images_are_scaled_as_each_network_was_trained() -> None:
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    vgg16, alexnet = pretrained.vgg16("random"), pretrained.alexnet("random")
    caffe = images * 127.5 + 127.5 - torch.tensor([123.68, 116.779, 103.939])[:, None, None]
    torch.testing.assert_close(vgg16(images)[-1], vgg16.layers(caffe), rtol=1e-3, atol=1e-3)
    mean, deviation = torch.tensor([[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]])[:, :, None, None]
    torch.testing.assert_close(alexnet(images)[-1], alexnet.layers((images - mean) / deviation))
    vgg19 = pretrained.vgg19("random")
    torch.testing.assert_close(vgg19(images)[-1], vgg19.layers(images))


def test_inception_is_the_one_of_torch_fidelity(tmp_path: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    frozen = pretrained.inception("random")
    state = {"fc.bias": torch.zeros(1008)}
    for key, tensor in frozen.layers.state_dict().items():
        index, _, rest = key.partition(".")
        state[f"{pretrained.INCEPTION[int(index)]}.{rest}"] = tensor
    torch.save(state, tmp_path / "weights.pth")
    theirs = FeatureExtractorInceptionV3("a", ["2048", "logits_unbiased"], str(tmp_path / "weights.pth"))
    levels = torch.randint(0, 256, (1, 3, 299, 299), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for ours, expected in zip(frozen(levels / 127.5 - 1), theirs(levels), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4)


def test_gradients_reach_the_images_and_no_weight() -> None:
    vgg = pretrained.vgg19("random")
    images = torch.ones(1, 3, 32, 32, requires_grad=True)
    sum(x.sum() for x in vgg(images)).backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in vgg.layers.parameters())


def test_a_network_that_is_held_by_a_module_is_no_part_of_it() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.alexnet = pretrained.alexnet("random")

    holder = Holder().train()
    assert not holder.state_dict()
    assert not list(holder.named_children())
    assert not holder.alexnet.layers.training


def test_mixed_precision_does_not_reach_the_activations() -> None:
    alexnet = pretrained.alexnet("random")
    images = torch.rand(1, 3, 48, 48)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = alexnet(images.bfloat16().float())
    assert all(x.dtype == torch.float32 for x in mixed)


@pytest.mark.gpu
@pytest.mark.parametrize("make", NETWORKS)
def test_activations_on_a_gpu_are_those_of_the_cpu(make: Callable[[str], FrozenNetwork]) -> None:
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    network = make("random")
    expected = network(images)
    for ours, theirs in zip(network(images.cuda()), expected, strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=1e-2, atol=1e-2 * float(theirs.abs().max()))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PyTorch's cache, empty, on a machine whose every download fails."""
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def refuse(url: str, *_: object, **__: object) -> None:
        raise OSError(f"no way to {url}")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return folder


@pytest.mark.parametrize(
    ("make", "file"),
    [
        (pretrained.vgg16, "vgg16_features-amdegroot-88682ab5.pth"),
        (pretrained.vgg19, "vgg19-dcbb9e9d.pth"),
        (pretrained.vgg19_caffe, "vgg19-d01eb7cb.pth"),
        (pretrained.alexnet, "alexnet-owt-7be5be79.pth"),
        (pretrained.inception, "weights-inception-2015-12-05-6726825d.pth"),
    ],
)
def test_missing_weights_are_a_sentence_with_the_file_and_its_place(
    make: Callable[[str], FrozenNetwork], file: str, cache: Path
) -> None:
    with pytest.raises(I2IError, match=f"{file} are not here") as caught:
        make("pretrained")
    assert str(cache) in str(caught.value)


def test_a_damaged_file_is_named(cache: Path) -> None:
    (cache / "vgg19-dcbb9e9d.pth").write_bytes(b"half of it")
    with pytest.raises(I2IError, match=r"vgg19-dcbb9e9d\.pth is no file of weights"):
        pretrained.vgg19("pretrained")


@pytest.mark.parametrize("make", [pretrained.alexnet, pretrained.inception_stem])
def test_a_file_in_the_cache_is_read_by_the_names_of_its_layers(
    make: Callable[[str], FrozenNetwork], cache: Path
) -> None:
    expected = make("random")
    is_inception = make is pretrained.inception_stem
    names = pretrained.INCEPTION if is_inception else [f"features.{index}" for index in range(13)]
    state = {}
    for name, layer in zip(names, all_layers(is_inception), strict=True):
        state |= {f"{name}.{key}": tensor for key, tensor in layer.state_dict().items()}
    for key, tensor in expected.layers.state_dict().items():
        index, _, rest = key.partition(".")
        state[f"{names[int(index)]}.{rest}"] = tensor + 0.5 if tensor.is_floating_point() else tensor
    state = {key: tensor for key, tensor in state.items() if not key.endswith(pretrained.COUNTER)}  # as in old files
    file = "weights-inception-2015-12-05-6726825d.pth" if is_inception else "alexnet-owt-7be5be79.pth"
    torch.save(state, cache / file)
    network = make("pretrained")
    assert network.features == "pretrained"
    for key, tensor in network.layers.state_dict().items():
        assert torch.equal(tensor, expected.layers.state_dict()[key] + 0.5 * tensor.is_floating_point())


def all_layers(is_inception: bool) -> nn.Sequential:
    """The layers of a whole network, those behind the last activation included."""
    if is_inception:
        return pretrained._inception_layers()
    from torchvision.models import alexnet

    return alexnet().features


def test_weights_of_another_network_are_named(cache: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(1)}, cache / "alexnet-owt-7be5be79.pth")
    with pytest.raises(I2IError, match=r"alexnet-owt-7be5be79\.pth holds weights of another network"):
        pretrained.alexnet("pretrained")


def test_a_word_that_is_neither_is_refused() -> None:
    with pytest.raises(I2IError, match="features is 'none'; it must be one of pretrained, random"):
        pretrained.vgg19("none")  # type: ignore[arg-type]
