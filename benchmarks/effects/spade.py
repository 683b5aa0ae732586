"""SPADE beside the same generator with the label map concatenated: uniform label maps, and labels that are kept.

  python -m i2i_rt.benchmarks.effects.spade -o benchmarks/results
  python -m i2i_rt.benchmarks.effects.spade -o quick/ --quick

About 15 minutes on one thread. It can be stopped: the trainings are kept in --runs, and the next call goes on there.
"""

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.benchmarks.effects.effect import Effect, Finding, parsed, publish, trained
from i2i_rt.benchmarks.effects.spade_data import CLASSES, NAMES, SIDE, Textured, uniform
from i2i_rt.benchmarks.environment import environment
from i2i_rt.label_maps import colourise
from i2i_rt.label_names import label_info
from i2i_rt.metrics.segmentation import agreement, confusion
from i2i_rt.stages.base import to_image
from i2i_rt.stages.table import stages_of
from i2i_rt.training.trainer import Trainer

PICTURES, HELD_OUT = 800, 64
BATCH, SEEDS = 4, (0, 1)
EPOCHS = {"epochs": 3, "decay_epochs": 3}
STEPS = sum(EPOCHS.values()) * PICTURES // BATCH
RATE = 6e-4  # three times the paper's: the networks are narrow, and the training is short
JUDGE_STEPS = 600
QUICK_STEPS = 2

# rows of the table
SPADE = "SPADE"
CONCAT = "concatenation, batch norm"
CONCAT_INSTANCE = "concatenation, instance norm"
COMMON = {"labels": str(CLASSES), "unknown": "false", "instances": "false", "vgg_weight": "0", "hidden": "16"}
VARIANTS: dict[str, tuple[int, dict[str, str]]] = {  # width and settings: the baselines have no fewer weights
    SPADE: (8, {}),
    CONCAT: (10, {"conditioning": "concat"}),
    CONCAT_INSTANCE: (10, {"conditioning": "concat", "norm": "instance"}),
}


class Judge:
    """Says of every pixel which texture it belongs to, by a network that has seen real pictures alone."""

    def __init__(self, real: Textured, steps: int) -> None:
        torch.manual_seed(0)
        self.network = nn.Sequential(
            *(nn.Conv2d(3, 16, 5, padding=2), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 24, 5, padding=4, dilation=2), nn.BatchNorm2d(24), nn.ReLU()),
            nn.Conv2d(24, CLASSES, 5, padding=8, dilation=4),
        )
        optimizer = torch.optim.Adam(self.network.parameters(), 3e-3)
        generator = np.random.default_rng(0)
        for _ in range(steps):
            chosen = generator.integers(0, len(real.pictures), 8)
            loss = functional.cross_entropy(
                self._scores(real.pictures[chosen]), torch.from_numpy(real.labels[chosen]).long()
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        self.network.eval().requires_grad_(False)

    def labels(self, pictures: np.ndarray) -> np.ndarray:
        """Gives label maps `[N, H, W]` of pictures `[N, H, W, 3]`, uint8."""
        labels: np.ndarray = self._scores(pictures).argmax(1).byte().numpy()
        return labels

    def _scores(self, pictures: np.ndarray) -> Tensor:
        scores: Tensor = self.network(to_image(torch.from_numpy(pictures), self.network))
        return scores


@dataclass(frozen=True)
class Judged:
    """What the judge says of a generator: of held-out label maps, and of maps of one class.

    Attributes:
        mean_iou, pixel_accuracy: of pictures of held-out label maps, with those maps as the truth.
        kept: of each uniform map, the share of the picture that has its texture.
        told_apart: mean difference of two uniform maps' pictures, levels of 255.
    """

    mean_iou: float
    pixel_accuracy: float
    kept: tuple[float, ...]
    told_apart: float


def made(trainer: Trainer, labels: np.ndarray) -> np.ndarray:
    """Gives the pictures that the run's bundle makes of label maps, `[N, H, W, 3]` uint8."""
    (product,) = trainer.system.products(trainer.networks()).values()
    translate = stages_of("spade", product.networks)["translate"].module
    with torch.no_grad():
        return translate(torch.from_numpy(labels).to(trainer.processes.device)).cpu().numpy()  # type: ignore[no-any-return]


def judge(pictures: np.ndarray, alone: np.ndarray, held: Textured, by: Judge) -> Judged:
    """Judges pictures of the held-out label maps, and of the uniform ones."""
    found = agreement(confusion(held.labels, by.labels(pictures), CLASSES))
    kept = (by.labels(alone) == uniform()).mean((1, 2))
    levels = alone.astype(np.float32)
    apart = [np.abs(levels[i] - levels[j]).mean() for i in range(CLASSES) for j in range(i)]
    return Judged(found.mean_iou, found.pixel_accuracy, tuple(kept.tolist()), float(np.mean(apart)))


def prepared(folder: Path) -> Path:
    """Writes the training set, where an earlier call has not."""
    done = folder / "complete"
    if not done.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        Textured.drawn(PICTURES, seed=0).save(folder, "train")
        Textured.drawn(8, seed=1).save(folder, "val")
        done.touch()
    return folder


def trainings(folder: Path, data: Path, seed: int, *, quick: bool) -> dict[str, Trainer]:
    """Trains each variant, or goes on with it."""
    found = {}
    for name, (width, settings) in VARIANTS.items():
        options: dict[str, Any] = {
            "width": width,
            "discriminator_width": 8,
            "batch": BATCH,
            "crop_size": SIDE,
            "load_size": SIDE,
            "learning_rate": RATE,
            **EPOCHS,
            "settings": COMMON | settings,
            "seed": seed,
        }
        run = folder / f"{name.replace(', ', '-').replace(' ', '-').lower()}-{seed}"
        found[name] = trained(run, "spade", data, steps=QUICK_STEPS if quick else STEPS, **options)[0]
    return found


def weights(trainer: Trainer) -> int:
    return sum(weight.numel() for weight in trainer.system.networks["generator"].parameters())


def row(name: str, judged: Sequence[Judged], size: int) -> list[str]:
    return [
        name,
        f"{size / 1e6:.2f}",
        _range([100 * one.mean_iou for one in judged]),
        _range([100 * one.pixel_accuracy for one in judged]),
        _range([100 * float(np.mean(one.kept)) for one in judged]),
        _range([100 * min(one.kept) for one in judged]),
        _range([one.told_apart for one in judged]),
    ]


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.1f}" if f"{low:.1f}" == f"{high:.1f}" else f"{low:.1f}–{high:.1f}"


def findings(rows: Mapping[str, Sequence[Judged]]) -> tuple[Finding, ...]:
    def kept(name: str) -> list[float]:
        return [100 * float(np.mean(one.kept)) for one in rows[name]]

    def iou(name: str) -> list[float]:
        return [100 * one.mean_iou for one in rows[name]]

    def beside(name: str) -> Finding:
        return Finding(
            f"thesis, table 2.3: SPADE has a higher mean IoU than {name}",
            f"{_range(iou(SPADE))} and {_range(iou(name))} %",
            min(iou(SPADE)) > max(iou(name)),
        )

    return (
        Finding(
            "thesis, figure 2.3: of a label map of one class SPADE makes that class's texture",
            f"{_range(kept(SPADE))} % of the pixels of uniform maps have their label's texture",
            min(kept(SPADE)) > 90,
        ),
        Finding(
            f"thesis, figure 2.3: {CONCAT_INSTANCE} (pix2pixHD's norm) loses the label",
            f"{_range(kept(CONCAT_INSTANCE))} %, chance is {100 / CLASSES:.0f} %",
            max(kept(CONCAT_INSTANCE)) < 50 < min(kept(SPADE)),
        ),
        beside(CONCAT_INSTANCE),
        beside(CONCAT),
        Finding(
            f"beyond the thesis: it is that norm that loses it; {CONCAT} keeps it",
            f"{_range(kept(CONCAT))} % of the pixels of uniform maps have their label's texture",
            min(kept(CONCAT)) > 90,
        ),
    )


def grid(trainers: Mapping[str, Trainer], held: Textured, columns: int = 5) -> Image.Image:
    """Shows label maps, their real pictures and those of the variants; to the right, the same of uniform maps."""
    info = label_info("custom", CLASSES, unknown=False, edges=False)
    alone = uniform()
    labels = np.concatenate([held.labels[:columns], alone])
    blank = np.full((CLASSES, SIDE, SIDE, 3), 255, np.uint8)
    rows = [colourise(labels, info), np.concatenate([held.pictures[:columns], blank])]
    rows += [made(trainer, labels) for trainer in trainers.values()]
    gap = np.full((SIDE, 8, 3), 255, np.uint8)
    lines = [np.concatenate([*row[:columns], gap, *row[columns:]], 1) for row in rows]
    return Image.fromarray(np.concatenate(lines))


DATA = (
    f"{PICTURES} drawn label maps of {SIDE}x{SIDE} pixels with one to four of {CLASSES} classes, and their pictures: "
    "three colours, each with stripes and with checks, so that a class is known by both together. "
    f"{HELD_OUT} others are held out."
)
METHOD = (
    "SPADE of width 8 with 16 channels between label map and scales; the baseline has the map beside the features in "
    "front of every norm (as `decoder w/ Concat` of table 2.3) and is of width 10, so that it has no fewer weights. "
    f"{STEPS} steps of {BATCH}, the paper's losses without VGG, its spectral norm, three times its rates, falling in "
    f"the second half; seeds {', '.join(map(str, SEEDS))}, of which the table has the lowest and the highest figure. "
    "A small network that has seen real pictures alone judges what label each pixel shows."
)


def main(words: Sequence[str] | None = None) -> int:
    arguments = parsed(words, "spade", __doc__, quick="a few steps of one seed")
    torch.set_num_threads(arguments.threads)
    stamp, started = environment(threads=arguments.threads), time.perf_counter()
    data = prepared(arguments.runs / "data")
    seeds = SEEDS[:1] if arguments.quick else SEEDS
    runs = [trainings(arguments.runs, data, seed, quick=arguments.quick) for seed in seeds]
    held = Textured.drawn(HELD_OUT, seed=2)
    by = Judge(Textured.drawn(PICTURES, seed=3), QUICK_STEPS if arguments.quick else JUDGE_STEPS)
    rows = {
        name: [judge(made(run[name], held.labels), made(run[name], uniform()), held, by) for run in runs]
        for name in VARIANTS
    }
    ceiling = agreement(confusion(held.labels, by.labels(held.pictures), CLASSES))
    real = ["real pictures", "", f"{100 * ceiling.mean_iou:.1f}", f"{100 * ceiling.pixel_accuracy:.1f}", "", "", ""]
    head = ["generator", "million weights", "mIoU, %", "pixel accuracy, %"]
    head += ["uniform maps: label kept, %", "worst class, %", "difference between classes, levels"]
    effect = Effect(
        title="SPADE: labels that reach the picture",
        data=DATA,
        method=METHOD,
        table=[head, *(row(name, judged, weights(runs[0][name])) for name, judged in rows.items()), real],
        findings=findings(rows),
        figures={name: [asdict(one) for one in judged] for name, judged in rows.items()}
        | {"real": asdict(ceiling), "classes": NAMES},
        seconds=time.perf_counter() - started,
        environment=stamp,
    )
    publish(effect, grid(runs[0], held), arguments, "spade")
    return 0


if __name__ == "__main__":
    sys.exit(main())
