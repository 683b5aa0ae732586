"""Trains CycleGAN's generator at full width to draw like OpenCV's `stylization`, in minutes on a CPU.

8 bits are judged on trained networks only: drawn weights understate their fidelity by some 15 dB. What is taught is
determined by what instance norm leaves of a picture: its own mean and contrast are taken out first.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.errors import MediaError
from i2i_rt.models import table
from i2i_rt.models.resnet import ResnetGenerator, ResnetGeneratorConfig
from i2i_rt.stages.table import stages_of

SHORT_SIDE_PX, CROP_PX, BATCH = 256, 128, 2
LEARNING_RATE = 4e-4  # of the first step; it falls to nothing in a straight line
CONTRAST, GREY = 55, 128  # standard deviation and mean of a channel, in levels
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def read_photographs(folders: Sequence[Path]) -> list[np.ndarray]:
    """Reads the pictures of folders and of those below, RGB, shorter side 256.

    Raises:
        MediaError: where there are none.
    """
    files = [file for folder in folders for file in sorted(folder.rglob("*")) if file.suffix.lower() in SUFFIXES]
    pictures = [picture for file in files if (picture := cv2.imread(str(file))) is not None]
    if not pictures:
        raise MediaError(f"--train {' '.join(map(str, folders))} has no pictures that can be read")
    return [cv2.cvtColor(_scaled(picture), cv2.COLOR_BGR2RGB) for picture in pictures]


def _scaled(picture: np.ndarray) -> np.ndarray:
    scale = SHORT_SIDE_PX / min(picture.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled: np.ndarray = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=interpolation)
    return scaled


def stylised(picture: np.ndarray) -> np.ndarray:
    """Gives an RGB picture `[H, W, 3]`, uint8, with the same contrast in every channel, in black outlines."""
    wide = picture.astype(np.float32)
    even = (wide - wide.mean((0, 1))) / (wide.std((0, 1)) + 8) * CONTRAST + GREY
    drawn: np.ndarray = cv2.stylization(even.clip(0, 255).astype(np.uint8), sigma_s=30, sigma_r=0.3)
    return drawn


def train(
    photographs: Sequence[np.ndarray],
    path: Path,
    *,
    steps: int,
    width: int = 64,
    blocks: int = 9,
    report: Callable[[str], None] = print,
) -> Bundle:
    """Trains the generator on crops and writes it as a bundle of CUT, whose generator it is."""
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    generator = ResnetGenerator(ResnetGeneratorConfig(width=width, blocks=blocks))
    for module in generator.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(generator.parameters(), LEARNING_RATE, betas=(0.5, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    losses = []
    for step in range(1, steps + 1):
        taken, wanted = _batch(photographs, random)
        with torch.autocast("cpu", torch.bfloat16):
            given = generator(taken)
        loss = functional.l1_loss(given.float(), wanted)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if step % 50 == 0 or step == steps:
            report(f"step {step} of {steps}: L1 loss {np.mean(losses[-50:]):.3f}")
    networks: dict[str, nn.Module] = {"generator": generator.to(memory_format=torch.contiguous_format)}
    return Bundle.create(
        path,
        system="cut",
        networks={"generator": table.describe(generator)},
        stages={name: stage.spec for name, stage in stages_of("cut", networks).items()},
        weights=table.weights_of(networks),
        provenance=Provenance(f"{steps} steps of imitating cv2.stylization", sha256=""),
    )


def _batch(photographs: Sequence[np.ndarray], random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Gives crops and what they should become, both `[N, 3, H, W]` in [-1, 1]."""
    crops = []
    for _ in range(BATCH):
        photograph = photographs[int(random.integers(len(photographs)))]
        top, left = (int(random.integers(side - CROP_PX + 1)) for side in photograph.shape[:2])
        crop = photograph[top : top + CROP_PX, left : left + CROP_PX]
        crops.append(crop[:, ::-1] if random.random() < 0.5 else crop)
    return _tensor(crops), _tensor([stylised(np.ascontiguousarray(crop)) for crop in crops])


def _tensor(pictures: Sequence[np.ndarray]) -> Tensor:
    batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return batch.contiguous(memory_format=torch.channels_last)
