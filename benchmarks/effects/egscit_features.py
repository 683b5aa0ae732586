"""VGG-19 that tells digits apart: what EGSC-IT's perceptual loss sees them with in its experiment.

Weights of ImageNet take a download, and random ones tell the right translation of a digit from another digit hardly at
all. So VGG-19 learns the digits of the training pictures, in any two colours and no matter which is the ink's.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import vgg19

from i2i_rt.pretrained import CAFFE_MEAN, CAFFE_VGG19_URL, cached, random_weights
from i2i_rt.training.digits import CLASSES

SEEN = 30  # of VGG-19's layers, those up to the last one that the losses take; the others are not trained
BATCH, RATE = 32, 1e-4
NOISE = 0.02
REPORT_EVERY = 50


@contextmanager
def provided(folder: Path, data: Path, *, steps: int, seed: int) -> Iterator[None]:
    """Has EGSC-IT's losses find VGG-19 in `folder` meanwhile; trains it where an earlier call has not."""
    usual = torch.hub.get_dir()
    torch.hub.set_dir(folder)
    try:
        file = cached(CAFFE_VGG19_URL)
        if not file.is_file():
            network = learned(*_digits(data / "trainA"), steps=steps, seed=seed)
            file.parent.mkdir(parents=True, exist_ok=True)
            fresh = file.with_suffix(".part")
            torch.save(as_caffe(network), fresh)
            fresh.rename(file)
        yield
    finally:
        torch.hub.set_dir(usual)


def learned(strokes: Tensor, labels: Tensor, *, steps: int, seed: int) -> nn.Sequential:
    """Trains VGG-19's convolutions on strokes `[N, 1, S, S]` bool and which digits they are, `[N]`."""
    generator = torch.Generator().manual_seed(seed)
    network: nn.Sequential = vgg19().features
    network.load_state_dict(random_weights(network.state_dict()))
    layers = network[:SEEN]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = nn.Linear(512, CLASSES)
    optimizer = torch.optim.Adam([*layers.parameters(), *head.parameters()], lr=RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    mean = torch.tensor(CAFFE_MEAN).view(3, 1, 1)
    for step in range(1, steps + 1):
        chosen = torch.randint(len(labels), (BATCH,), generator=generator)
        pictures = coloured(strokes[chosen], generator)
        loss = functional.cross_entropy(head(layers(pictures - mean).mean((2, 3))), labels[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % REPORT_EVERY == 0:
            print(
                f"VGG-19 on digits: step {step}/{steps}, cross-entropy {loss.item():.3f}", file=sys.stderr, flush=True
            )
    return network


def coloured(strokes: Tensor, generator: torch.Generator) -> Tensor:
    """Draws `[N, 3, S, S]` in [-1, 1], a little noisy, with any ink on any ground, in half of them pure colours."""
    count = len(strokes)
    colours = 2 * torch.rand(2, count, 3, 1, 1, generator=generator) - 1
    pure = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    ink, ground = torch.where(pure, colours.sign(), colours)
    pictures = torch.where(strokes, ink, ground)
    return pictures + NOISE * torch.randn(pictures.shape, generator=generator)


def as_caffe(network: nn.Sequential) -> dict[str, Tensor]:
    """Gives weights as Caffe's file has them: for BGR, and from 0 to 255."""
    state = {f"features.{key}": value.detach().clone() for key, value in network.state_dict().items()}
    state["features.0.weight"] = state["features.0.weight"].flip(1) / 127.5
    return state


def _digits(folder: Path) -> tuple[Tensor, Tensor]:
    """Reads black and white digits, which files are named after; the ground is in the corner."""
    files = sorted(folder.iterdir())
    pictures = np.stack([np.asarray(Image.open(file).convert("L")) for file in files])
    strokes = np.abs(pictures.astype(int) - pictures[:, :1, :1]) > 127
    labels = [int(file.stem.rpartition("_")[2]) for file in files]
    return torch.from_numpy(strokes).unsqueeze(1), torch.tensor(labels)
