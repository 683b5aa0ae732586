"""GP-UNIT on classes whose poses are known: does a distilled content keep the pose, and do skip connections help?

  python -m i2i_rt.benchmarks.effects.gpunit -o benchmarks/results
  python -m i2i_rt.benchmarks.effects.gpunit -o quick/ --quick

About 30 minutes on one thread. It can be stopped: the trainings are kept in --runs, and the next call goes on there.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from i2i_rt.benchmarks.effects.effect import Effect, Finding, parsed, publish, trained
from i2i_rt.benchmarks.effects.gpunit_data import (
    SIDE,
    Look,
    Pose,
    cover,
    draw_look,
    draw_pose,
    found,
    pose_errors,
    render,
    write_linked,
    write_pictures,
)
from i2i_rt.benchmarks.environment import environment
from i2i_rt.models.gpunit import Generator
from i2i_rt.stages.base import to_frames
from i2i_rt.training.trainer import Trainer

SEEDS = (0, 1)
FROM, TO = "peanut", "dagger"  # dark on light ground, and light on dark
CODES, HELD_OUT, PICTURES, JUDGED = 600, 20, 1000, 200
PRIOR_STEPS, STEPS, QUICK_STEPS = 2000, 1400, 3
SIZE = {"crop_size": SIDE, "load_size": SIDE, "width": 8}
PRIOR = {"batch": 16, "learning_rate": 1e-3}
TRANSLATION = {"batch": 8, "discriminator_width": 16, "learning_rate": 5e-4}
SETTINGS = {"reductions": "3", "vgg": "0"}
PRIOR_SETTINGS = {"embedding": "16"}
TRANSLATION_SETTINGS = {"style_dim": "32", "bottleneck": "16", "max_width": "64", "style_layer": "3"}

# rows of the table
FULL, SCRATCH, PLAIN, FREE = "distilled", "from scratch", "distilled, no skip connections", "distilled, masks free"
ANSWER, CHANCE = "the right picture", "any other picture of the class"
ROWS: dict[str, dict[str, str]] = {
    FULL: {},
    SCRATCH: {"scratch": "true"},
    PLAIN: {"skip": "false"},
    FREE: {"mask": "0"},
}


@dataclass(frozen=True)
class Case:
    """A picture of the one class, one of the other class that gives the look, and what is right: `[SIDE, SIDE, 3]`.

    The disc of what is right may be elsewhere.
    """

    image: np.ndarray
    reference: np.ndarray
    answer: np.ndarray
    pose: Pose  # of the image
    look: Look  # of the reference


@dataclass(frozen=True)
class Judged:
    """What a way of translating is worth: a value for each case, one training behind the other."""

    centre: np.ndarray  # error in pixels
    angle: np.ndarray  # error in degrees
    iou: np.ndarray  # of the object, with that of the right picture
    mask: np.ndarray  # mean of the skip connections' masks; empty where there are none
    taken: np.ndarray  # share of the masks that is above 0

    def row(self) -> list[str]:
        figures = [f"{self.centre.mean():.2f}", f"{self.angle.mean():.1f}", f"{self.iou.mean():.3f}"]
        return figures + [f"{values.mean():.3f}" if values.size else "" for values in (self.mask, self.taken)]


def draw_cases(count: int) -> list[Case]:
    cases = []
    for number in range(count):
        generator = np.random.default_rng((99, number))
        pose, look = draw_pose(generator), draw_look(TO, generator)
        image = render(pose, draw_look(FROM, generator), generator)
        reference = render(draw_pose(generator), look, generator)
        cases.append(Case(image, reference, render(pose, look, generator), pose, look))
    return cases


def batch_of(frames: Sequence[np.ndarray]) -> Tensor:
    """Gives `[N, 3, SIDE, SIDE]` in [-1, 1]."""
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def translated(trainer: Trainer, cases: Sequence[Case]) -> tuple[list[np.ndarray], np.ndarray]:
    """Gives the pictures, and for each the mean of its masks and the share of them above 0, `[2, N]` or `[2, 0]`."""
    networks, device = trainer.networks(averaged=False), trainer.processes.device
    generator = networks["generator"]
    assert isinstance(generator, Generator)
    content, *features = networks["content_encoder"](batch_of([case.image for case in cases]).to(device))
    style = networks["style_encoder"](batch_of([case.reference for case in cases]).to(device))
    images, masks = generator.decode(content, features, style)
    means = [[mask.flatten(1).mean(1), (mask > 0).float().flatten(1).mean(1)] for mask in masks]
    shares = torch.stack([torch.stack(mean) for mean in means]).mean(0).cpu().numpy() if means else np.zeros((2, 0))
    return list(to_frames(images).cpu().numpy()), shares


def judge(pictures: Sequence[np.ndarray], cases: Sequence[Case], masks: np.ndarray | None = None) -> Judged:
    """Measures pictures by the poses and looks that they are to have."""
    objects = [found(picture, case.look) for picture, case in zip(pictures, cases, strict=True)]
    rights = [cover(TO, case.pose) > 0.5 for case in cases]
    centre, angle = np.array([pose_errors(mask, TO, case.pose) for mask, case in zip(objects, cases, strict=True)]).T
    both = [((mask & right).sum(), (mask | right).sum()) for mask, right in zip(objects, rights, strict=True)]
    masks = np.zeros((2, 0)) if masks is None else masks
    return Judged(centre, angle, np.array([a / b for a, b in both]), masks[0], masks[1])


def joined(seeds: Sequence[Judged]) -> Judged:
    return Judged(**{name: np.concatenate([getattr(one, name) for one in seeds]) for name in vars(seeds[0])})


def findings(rows: Mapping[str, Judged]) -> tuple[Finding, ...]:
    full, scratch, plain, free = (rows[name] for name in (FULL, SCRATCH, PLAIN, FREE))

    def compared(other: Judged) -> str:
        return (
            f"{full.angle.mean():.1f} against {other.angle.mean():.1f} degrees, {full.centre.mean():.2f} against "
            f"{other.centre.mean():.2f} pixels"
        )

    def better(other: Judged) -> bool:
        return bool(full.angle.mean() < other.angle.mean() and full.centre.mean() < other.centre.mean())

    return (
        Finding(
            "GP-UNIT, section 5.2 and figure 7(a): a distilled content encoder keeps the pose, one that is trained "
            "from scratch does not (errors of axis and centre)",
            compared(scratch),
            better(scratch),
        ),
        Finding(
            "figure 7(b): dynamic skip connections keep it better than the content alone",
            compared(plain),
            better(plain),
        ),
        Finding(
            "equation 6: its loss makes the masks sparse",
            f"{100 * full.taken.mean():.1f} % of the masks are above 0, against {100 * free.taken.mean():.1f} % "
            f"without the loss; mean {full.mask.mean():.3f} against {free.mask.mean():.3f}",
            bool(full.taken.mean() < free.taken.mean() and full.mask.mean() < free.mask.mean()),
        ),
    )


def grid(cases: Sequence[Case], results: Mapping[str, Sequence[np.ndarray]]) -> Image.Image:
    """Shows cases in columns: both pictures, the right one, and each way's."""
    columns = [
        np.concatenate([case.image, case.reference, case.answer, *(pictures[at] for pictures in results.values())], 0)
        for at, case in enumerate(cases)
    ]
    picture = Image.fromarray(np.concatenate(columns, 1))
    return picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST)


def trained_rows(runs: Path, seed: int, *, quick: bool) -> dict[str, Trainer]:
    """Trains a prior, and with it each row's translation."""
    options: dict[str, Any] = {**SIZE, "seed": seed}
    learning = options | PRIOR | {"settings": SETTINGS | PRIOR_SETTINGS}
    prior = runs / f"prior-{seed}"
    trained(prior, "gpunit-prior", runs / "linked", steps=QUICK_STEPS if quick else PRIOR_STEPS, **learning)
    rows = {}
    for row, changed in ROWS.items():
        learning = options | TRANSLATION | {"settings": SETTINGS | TRANSLATION_SETTINGS | changed}
        if "scratch" not in changed:
            learning["start"] = str(prior)
        run = runs / f"{row.replace(',', '').replace(' ', '-')}-{seed}"
        rows[row], _ = trained(run, "gpunit", runs / "photos", steps=QUICK_STEPS if quick else STEPS, **learning)
    return rows


DATA = (
    f"Drawn pictures of {SIDE}x{SIDE} pixels in which an oblong object of one of six classes lies in a known pose "
    "(centre, axis, length); a class has a shape, a pattern, and dark objects on light ground or the reverse, in any "
    "hues. Beside the object lies a disc, anywhere, which is nearly as large as the object in the classes on light "
    "ground and small in the others: looks alone do not say what corresponds to what. The prior learns from "
    f"{CODES} poses, each drawn in all classes, with the objects' masks. Translation learns from {PICTURES} pictures "
    f"of a {FROM} and as many of a {TO}, in poses of their own, and is judged on {JUDGED} other pairs, for each of "
    "which the right pose is known."
)
METHOD = (
    f"Width {SIZE['width']}, three reductions: content of 4x4. The prior takes {PRIOR_STEPS} steps of {PRIOR['batch']} "
    f"pairs, each translation {STEPS} steps of {TRANSLATION['batch']} pictures; {len(SEEDS)} seeds. The losses have "
    "the paper's weights, but VGG's is left out; learning rates are higher, for there are few steps; networks are the "
    "last ones, not the averages. The object is where colours are closer to the reference's object than to its ground "
    "and its disc; its centre and axis are those of the class's shape where that fits these pixels best. Where nothing "
    "is found, the pose counts as chance. "
    "Masks are above 0 where the skip connections take something from the encoder."
)


def main(words: Sequence[str] | None = None) -> int:
    arguments = parsed(words, "gpunit", __doc__, quick="a few steps of one seed")
    torch.set_num_threads(arguments.threads)
    stamp, started = environment(threads=arguments.threads), time.perf_counter()
    runs, quick = arguments.runs, arguments.quick
    write_linked(runs / "linked", 8 if quick else CODES, seed=0)
    write_linked(runs / "linked", 2 if quick else HELD_OUT, seed=1, split="val")
    for seed, (side, name) in enumerate((("A", FROM), ("B", TO)), 2):
        write_pictures(runs / "photos" / f"train{side}", name, 16 if quick else PICTURES, seed)
        write_pictures(runs / "photos" / f"val{side}", name, 2 if quick else HELD_OUT, seed + 2)
    cases = draw_cases(8 if quick else JUDGED)
    judged: dict[str, list[Judged]] = {row: [] for row in ROWS}
    shown: dict[str, list[np.ndarray]] = {}
    for seed in SEEDS[:1] if quick else SEEDS:
        for row, trainer in trained_rows(runs, seed, quick=quick).items():
            pictures, masks = translated(trainer, cases)
            judged[row].append(judge(pictures, cases, masks))
            shown.setdefault(row, pictures)
    rows = {row: joined(seeds) for row, seeds in judged.items()}
    known = {
        CHANCE: judge([case.reference for case in cases], cases),
        ANSWER: judge([case.answer for case in cases], cases),
    }
    header = ["way", "centre [pixels]", "axis [degrees]", "IoU", "mean of masks", "above 0"]
    effect = Effect(
        title="GP-UNIT: the pose that a distilled content keeps",
        data=DATA,
        method=METHOD,
        table=[header, *([row, *values.row()] for row, values in (rows | known).items())],
        findings=findings(rows),
        figures={
            row: {
                name: [float(getattr(one, name).mean()) for one in seeds if getattr(one, name).size]
                for name in vars(seeds[0])
            }
            for row, seeds in judged.items()
        },
        seconds=time.perf_counter() - started,
        environment=stamp,
    )
    publish(effect, grid(cases[:10], shown), arguments, "gpunit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
