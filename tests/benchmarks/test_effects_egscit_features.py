"""The network that EGSC-IT's experiment sees digits with: the losses read it as it was trained."""

from pathlib import Path

import torch

from i2i_rt.benchmarks.effects.egscit import prepared
from i2i_rt.benchmarks.effects.egscit_features import SEEN, coloured, learned, provided
from i2i_rt.pretrained import CAFFE_MEAN, vgg19_caffe


def test_losses_see_with_the_network_that_was_trained(tmp_path: Path) -> None:
    data = prepared(tmp_path / "data", 0, pictures=4, judged=2)
    usual = torch.hub.get_dir()

    with provided(tmp_path / "vgg", data, steps=1, seed=0):
        vgg = vgg19_caffe("pretrained")
    file = next((tmp_path / "vgg" / "checkpoints").iterdir())
    written = file.stat().st_mtime_ns
    with provided(tmp_path / "vgg", data, steps=1, seed=0):
        pass

    assert torch.hub.get_dir() == usual
    assert file.stat().st_mtime_ns == written
    pictures = 2 * torch.rand(1, 3, 16, 16) - 1
    state = torch.load(file, weights_only=True)
    for_rgb = state["features.0.weight"].flip(1) * 127.5
    centred = pictures - torch.tensor(CAFFE_MEAN).view(3, 1, 1)
    expected = torch.conv2d(centred, for_rgb, state["features.0.bias"], padding=1).relu()
    assert torch.allclose(vgg(pictures)[0], expected, atol=1e-4)


def test_training_changes_every_convolution_and_repeats() -> None:
    strokes, labels = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.5, torch.arange(6)

    first, again, longer = (learned(strokes, labels, steps=steps, seed=3)[:SEEN].state_dict() for steps in (1, 1, 2))

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], longer[name]) for name in first)


def test_digits_are_seen_in_two_colours_each() -> None:
    strokes = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5

    pictures = coloured(strokes, torch.Generator().manual_seed(0))

    assert pictures.shape == (40, 3, 8, 8)
    for picture, stroke in zip(pictures, strokes, strict=True):
        ink, ground = (picture[:, part] for part in (stroke[0], ~stroke[0]))
        assert ink.std(1).max() < 0.05 and ground.std(1).max() < 0.05
    means = torch.stack([picture[:, stroke[0]].mean(1) for picture, stroke in zip(pictures, strokes, strict=True)])
    assert means.std(0).min() > 0.5
