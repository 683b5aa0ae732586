"""CyCADA on a change of look with known labels: source only, adapted, oracle, as in table 3.7 of Park's thesis.

  python -m i2i_rt.benchmarks.effects.cycada -o benchmarks/results
  python -m i2i_rt.benchmarks.effects.cycada -o quick/ --quick

About 20 minutes on one thread. It can be stopped: the trainings are kept in --runs, and the next call goes on there.
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

from i2i_rt.benchmarks.effects.cycada_data import CAMERA, CLASSES, GAME, SIDE, Look, scene
from i2i_rt.benchmarks.effects.effect import Effect, Finding, parsed, publish, trained
from i2i_rt.benchmarks.environment import environment
from i2i_rt.metrics.segmentation import Agreement, agreement
from i2i_rt.stages.base import to_frames, to_image
from i2i_rt.systems.segmentation import labels_of, painted
from i2i_rt.systems.table import find
from i2i_rt.training.data import open_sampler
from i2i_rt.training.feeder import to_batch
from i2i_rt.training.trainer import Trainer

SEEDS = (0, 1, 2)
PICTURES, HELD_OUT = 400, 150
SIZE = {"crop_size": SIDE, "load_size": SIDE}
TASK = {"width": 16, "batch": 8, "learning_rate": 3e-2, "epochs": 20, "decay_epochs": 20}
PIXELS = {"width": 16, "blocks": 4, "discriminator_width": 16, "batch": 4, "epochs": 3, "decay_epochs": 3}
RATE = 4e-4  # twice CycleGAN's, with four times the batch
QUICK_STEPS = 3

# rows of the table
SOURCE, ADAPTED, SEMANTIC, ORACLE = "source only", "CyCADA, pixels", "CyCADA, pixels and semantic loss", "oracle"


@dataclass(frozen=True)
class Judged:
    """What a row's networks are worth on the target's held-out pictures, a network a seed."""

    found: tuple[Agreement, ...]

    def mean(self, name: str) -> float:
        return float(np.mean([getattr(one, name) for one in self.found]))

    def row(self) -> list[str]:
        iou = np.mean([one.iou for one in self.found], 0)
        figures = (*iou, *(self.mean(name) for name in ("mean_iou", "frequency_weighted_iou", "pixel_accuracy")))
        return [f"{100 * figure:.1f}" for figure in figures]


def write_scenes(folder: Path, images: str, labels: str | None, look: Look, count: int, seed: int) -> None:
    """Draws scenes into folders, once."""
    done = folder / images / f"{count - 1:03}.png"
    if done.is_file():
        return
    for name in filter(None, (images, labels)):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        picture, known = scene(look, np.random.default_rng((seed, number)))
        if labels is not None:
            Image.fromarray(known).save(folder / labels / f"{number:03}.png")
        Image.fromarray(picture).save(folder / images / f"{number:03}.png")


def prepared(folder: Path, *, quick: bool) -> tuple[Path, Path]:
    """Writes the source's and the target's sets; held out are pictures of the target in both."""
    count, held = (8, 4) if quick else (PICTURES, HELD_OUT)
    game, camera = folder / "game", folder / "camera"
    write_scenes(game, "train_img", "train_label", GAME, count, seed=1)
    write_scenes(game, "train_target", None, CAMERA, count, seed=2)
    write_scenes(camera, "train_img", "train_label", CAMERA, count, seed=2)
    for one in (game, camera):
        write_scenes(one, "val_img", "val_label", CAMERA, held, seed=3)
    return game, camera


def translated(source: Path, folder: Path, trainer: Trainer) -> Path:
    """Writes a labelled set anew: its training pictures in the target's look, all else as it was."""
    if (folder / "train_label").is_dir():
        return folder
    generator = trainer.networks()["generator"]
    (folder / "train_img").mkdir(parents=True, exist_ok=True)
    for file in sorted((source / "train_img").iterdir()):
        frames = torch.from_numpy(np.asarray(Image.open(file)).copy())[None].to(trainer.processes.device)
        with torch.no_grad():
            result = to_frames(generator(to_image(frames, generator)))
        Image.fromarray(result[0].cpu().numpy()).save(folder / "train_img" / file.name)
    for name in ("val_img", "val_label", "train_label"):
        shutil.copytree(source / name, folder / name, dirs_exist_ok=True)
    return folder


def judge(trainer: Trainer) -> Agreement:
    """Compares what a task network says of the held-out pictures with what they were drawn from."""
    sampler = open_sampler(trainer.options, find("segmentation")[1])
    networks, counts = trainer.networks(), np.zeros((len(CLASSES), len(CLASSES)))
    with torch.no_grad():
        for arrays in sampler.held_out():
            batch = to_batch(sampler.kind, arrays, trainer.processes.device)
            counts += trainer.system.scores(batch, networks)["confusion"].sum(0).cpu().numpy()
    return agreement(counts)


def trainings(runs: Path, game: Path, camera: Path, seed: int, *, quick: bool) -> dict[str, Trainer]:
    """Trains the four task networks, and before two of them what translates their pictures."""

    def steps(options: Mapping[str, Any]) -> int:
        count = (options["epochs"] + options["decay_epochs"]) * PICTURES // options["batch"]
        return QUICK_STEPS if quick else count

    def task(name: str, data: Path) -> Trainer:
        settings = {"classes": str(len(CLASSES))}
        options = {**TASK, **SIZE, "settings": settings, "seed": seed}
        return trained(runs / f"{name}-{seed}", "segmentation", data, steps=steps(TASK), **options)[0]

    def adapted(name: str, **settings: str) -> Trainer:
        settings |= {"classes": str(len(CLASSES)), "identity": "0"}
        options = {**PIXELS, **SIZE, "learning_rate": RATE, "settings": settings, "seed": seed}
        if "semantic" in settings:
            options["start"] = str(runs / f"source-{seed}")
        pixels, _ = trained(runs / f"{name}-pixels-{seed}", "cycada", game, steps=steps(PIXELS), **options)
        return task(name, translated(game, runs / f"{name}-data-{seed}", pixels))

    return {
        SOURCE: task("source", game),
        ADAPTED: adapted("adapted"),
        SEMANTIC: adapted("semantic", semantic="1", learn="false"),
        ORACLE: task("oracle", camera),
    }


def recovered(rows: Mapping[str, Judged], name: str) -> float:
    """Gives the share of what the change of look costs that a row wins back, in mean IoU."""
    source, found, oracle = (rows[row].mean("mean_iou") for row in (SOURCE, name, ORACLE))
    return (found - source) / (oracle - source)


def findings(rows: Mapping[str, Judged]) -> tuple[Finding, ...]:
    source, found, oracle = (rows[row].mean("mean_iou") for row in (SOURCE, ADAPTED, ORACLE))
    seeds = list(zip(*(rows[row].found for row in (SOURCE, ADAPTED, ORACLE)), strict=True))
    ordered = sum(a.mean_iou < b.mean_iou < c.mean_iou for a, b, c in seeds)
    share = recovered(rows, ADAPTED)
    return (
        Finding(
            "thesis, tables 3.7 and 3.8: source only < CyCADA < oracle in mean IoU",
            f"{100 * source:.1f}, {100 * found:.1f}, {100 * oracle:.1f}, means of the seeds; in this order with "
            f"{ordered} of {len(seeds)} seeds",
            ordered == len(seeds),
        ),
        Finding(
            "thesis, section 3.4.3: about 40 % of what the change of domain costs is won back, here at least a third",
            f"{share:.0%}; with the semantic loss, which the thesis leaves out, {recovered(rows, SEMANTIC):.0%}",
            share >= 1 / 3 and source < oracle,
        ),
    )


def grid(trainers: Mapping[str, Trainer], runs: Path, seed: int) -> Image.Image:
    """Shows scenes of the game, translated and of the camera; below, what the networks say of the last."""
    files = [f"{number:03}.png" for number in range(4)]
    game, camera = runs / "game", runs / "camera"
    shown = [
        [np.asarray(Image.open(folder / file)) for file in files]
        for folder in (game / "train_img", runs / f"adapted-data-{seed}" / "train_img", camera / "val_img")
    ]
    segmenters = [trainers[name].networks()["segmenter"] for name in (SOURCE, ADAPTED, ORACLE)]
    frames = torch.from_numpy(np.stack(shown[2])).to(trainers[SOURCE].processes.device)
    with torch.no_grad():
        maps = [labels_of(segmenter, to_image(frames, segmenter)).cpu() for segmenter in segmenters]
    truth = np.stack([np.asarray(Image.open(camera / "val_label" / file)) for file in files])
    maps.append(torch.from_numpy(truth).long())
    rows = [np.concatenate(row, 1) for row in shown]
    rows += [np.concatenate(list(to_frames(painted(labels, len(CLASSES))).numpy()), 1) for labels in maps]
    left, right = np.concatenate(rows[:3]), np.concatenate(rows[3:])
    wide = np.full((max(len(left), len(right)), left.shape[1] + right.shape[1] + 8, 3), 255, np.uint8)
    wide[: len(left), : left.shape[1]] = left
    wide[: len(right), left.shape[1] + 8 :] = right
    picture = Image.fromarray(wide)
    return picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST)


DATA = (
    f"Street scenes of {SIDE}x{SIDE} pixels and {len(CLASSES)} classes, drawn from seeds, so that every label is true: "
    f"{PICTURES} in a game's bright colours with labels (source), {PICTURES} others as a camera sees them, less light, "
    f"other colours and textures, haze, noise and blur, without labels (target); judged on {HELD_OUT} of the target."
)
METHOD = (
    f"DRN-26 with a quarter of the channels, from nothing, SGD, 2000 steps of {TASK['batch']}: on the source's "
    "pictures (source only), on these translated by CyCADA, with the labels that they had, and on the target's own "
    f"(oracle). CyCADA: generators and discriminators of width 16, 600 steps of {PIXELS['batch']}, cycle 10, no "
    "identity loss; its semantic loss (equation 3.13) is judged by the network of the first row, which stays as it is. "
    f"Seeds {', '.join(map(str, SEEDS))}; the figures are means over them, in per cent."
)


def main(words: Sequence[str] | None = None) -> int:
    arguments = parsed(words, "cycada", __doc__, quick="a few steps of one seed")
    torch.set_num_threads(arguments.threads)
    stamp, started = environment(threads=arguments.threads), time.perf_counter()
    game, camera = prepared(arguments.runs, quick=arguments.quick)
    seeds = SEEDS[:1] if arguments.quick else SEEDS
    runs = [trainings(arguments.runs, game, camera, seed, quick=arguments.quick) for seed in seeds]
    rows = {name: Judged(tuple(judge(trainers[name]) for trainers in runs)) for name in runs[0]}
    effect = Effect(
        title="CyCADA: a task network for another look, by translated pictures",
        data=DATA,
        method=METHOD,
        table=[["training", *CLASSES, "mIoU", "fwIoU", "pixel accuracy"]]
        + [[name, *judged.row()] for name, judged in rows.items()],
        findings=findings(rows),
        figures={name: [asdict(one) for one in judged.found] for name, judged in rows.items()},
        seconds=time.perf_counter() - started,
        environment=stamp,
    )
    publish(effect, grid(runs[0], arguments.runs, seeds[0]), arguments, "cycada")
    return 0


if __name__ == "__main__":
    sys.exit(main())
