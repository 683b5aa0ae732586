"""EGSC-IT on digits whose translations are known: what masks, AdaIN and the perceptual loss are worth, beside others.

  python -m i2i_rt.benchmarks.effects.egscit -o benchmarks/results
  python -m i2i_rt.benchmarks.effects.egscit -o quick/ --quick

About four hours on one thread. It can be stopped: the trainings are kept in --runs, and the next call goes on there.
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
from sklearn.datasets import load_digits
from torch import Tensor

from i2i_rt.benchmarks.effects import egscit_features
from i2i_rt.benchmarks.effects.effect import Effect, Finding, parsed, publish, trained
from i2i_rt.benchmarks.environment import environment
from i2i_rt.metrics.pairs import ssim
from i2i_rt.stages.base import to_frames
from i2i_rt.systems.base import Batch
from i2i_rt.training.digits import THRESHOLD, Digits, colour_shares, placed, write
from i2i_rt.training.trainer import Trainer

SIDE = 32
PICTURES, JUDGED, SHOWN = 6400, 200, 8
CONTRAST = 0.9  # of the colours: a tanh that reaches pure ones learns no more there, and rare ones were lost for good
SEEDS = (4, 5, 6)  # trials were made with others
BATCH = 1
RATE = 2e-4  # twenty times the paper's: the training is short
STEPS = PICTURES // BATCH  # of each stage: an epoch, in which the learning rate falls to nothing
CYCLEGAN_EPOCHS, VGG_STEPS, QUICK_STEPS = 2, 600, 2
WIDTH, BLOCKS = 32, 3
SIZE = {"crop_size": SIDE, "load_size": SIDE, "batch": BATCH, "discriminator_width": 16}
NETWORKS = {"width": WIDTH, "blocks": BLOCKS}  # of EGSC-IT
CYCLEGAN_NETWORKS = {"width": 16, "blocks": 3}
DEPTH = {"reductions": "1", "layers": "3"}
CONTENT, STYLE = 20, 50  # the paper's are 10 and 1000, for weights of ImageNet

# rows of the table
FULL, CYCLEGAN, ANSWERS, COPY = "EGSC-IT", "CycleGAN", "known answers", "left as it is"
UNGUIDED = {"content": "0", "style": "0"}  # no perceptual loss
VARIANTS = {
    FULL: {},
    "without masks": {"masks": "false"},
    "without AdaIN": {"adain": "false"},
    "without perceptual loss": UNGUIDED,
    "UNIT": {"masks": "false", "adain": "false", **UNGUIDED},
}


@dataclass(frozen=True)
class Held:
    """Pictures of both domains and what each looks like in the style of the other's, `[N, 3, H, W]` in [-1, 1]."""

    a: Tensor
    b: Tensor
    a_to_b: Tensor
    b_to_a: Tensor

    @classmethod
    def read(cls, data: Path) -> "Held":
        return cls(*(_read(data / folder) for folder in ("testA", "testB", "answersAB", "answersBA")))


@dataclass(frozen=True)
class Judged:
    """A method with one seed: mean SSIM to the answers, and the share of each pair of colours among pictures in B."""

    a_to_b: float
    b_to_a: float
    shares: Mapping[str, float]


def _read(folder: Path) -> Tensor:
    pictures = np.stack([np.asarray(Image.open(file)) for file in sorted(folder.iterdir())])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def prepared(folder: Path, seed: int, *, pictures: int, judged: int) -> Path:
    """Writes a training set of scikit-learn's digits, where an earlier call has not."""
    done = folder / "complete"
    if not done.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        real = load_digits()
        strokes = [placed((image * (255 / 16)).astype(np.uint8), SIDE) > THRESHOLD for image in real.images]
        write(Digits(np.stack(strokes), real.target), folder, "single", train=pictures, test=judged, seed=seed)
        for file in folder.rglob("*.png"):
            levels = 127.5 + CONTRAST * (np.asarray(Image.open(file)) - 127.5)
            Image.fromarray(levels.round().astype(np.uint8)).save(file)
        done.touch()
    return folder


def trainings(folder: Path, data: Path, seed: int, *, quick: bool) -> dict[str, Trainer]:
    """Trains each method, or goes on with it; the networks of masks and styles are the same for all of EGSC-IT."""
    common: dict[str, Any] = {**SIZE, "learning_rate": RATE, "seed": seed}
    once = {**common, **NETWORKS, "epochs": 1, "decay_epochs": 0}
    given = folder / f"masks-{seed}"
    steps, vgg_steps = (QUICK_STEPS, QUICK_STEPS) if quick else (STEPS, VGG_STEPS)
    trained(given, "egscit-masks", data, steps=steps, settings=DEPTH, **once)
    settings = {**DEPTH, "content": str(CONTENT), "style": str(STYLE)}
    found = {}
    with egscit_features.provided(folder / f"vgg-{seed}", data, steps=vgg_steps, seed=seed):
        for name, changes in VARIANTS.items():
            run = folder / f"{name.replace(' ', '-').lower()}-{seed}"
            options = {**once, "settings": settings | changes, "start": str(given)}
            found[name] = trained(run, "egscit", data, steps=steps, **options)[0]
    options = {**common, **CYCLEGAN_NETWORKS, "epochs": CYCLEGAN_EPOCHS, "decay_epochs": 1}
    steps *= CYCLEGAN_EPOCHS
    found[CYCLEGAN] = trained(folder / f"cyclegan-{seed}", "cyclegan", data, steps=steps, **options)[0]
    return found


@torch.no_grad()
def made(trainer: Trainer, held: Held) -> tuple[Tensor, Tensor]:
    """Gives what a training makes of the held-out pictures, A to B and B to A, each in the style of the other."""
    device = trainer.processes.device
    columns = trainer.system.samples(Batch(held.a.to(device), held.b.to(device)), trainer.networks())
    a_to_b = columns[1 if trainer.options.system == "cyclegan" else 2]
    return a_to_b.cpu(), columns[3].cpu()


def judge(pictures: tuple[Tensor, Tensor], held: Held) -> Judged:
    a_to_b, b_to_a = pictures
    return Judged(
        a_to_b=float(ssim(a_to_b, held.a_to_b).mean()),
        b_to_a=float(ssim(b_to_a, held.b_to_a).mean()),
        shares=colour_shares(to_frames(a_to_b).numpy()),
    )


def _spread(values: Sequence[float], digits: int = 3) -> str:
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return low if low == high else f"{np.mean(values):.{digits}f} ({low}–{high})"


def row(name: str, judged: Sequence[Judged]) -> list[str]:
    shares = [f"{100 * np.mean([one.shares[pair] for one in judged]):.0f}" for pair in judged[0].shares]
    if name == COPY:  # black and white
        shares = [""] * len(shares)
    return [name, _spread([one.a_to_b for one in judged]), _spread([one.b_to_a for one in judged]), *shares]


def findings(rows: Mapping[str, Sequence[Judged]]) -> tuple[Finding, ...]:
    full = rows[FULL]

    def above(name: str, published: str) -> Finding:
        ways = [
            [getattr(one, way) - getattr(other, way) for one, other in zip(full, rows[name], strict=True)]
            for way in ("a_to_b", "b_to_a")
        ]
        return Finding(
            f"EGSC-IT, table 2: higher SSIM to the answers than {name} (there {published})",
            "difference of the same seed from A to B and from B to A: " + " and ".join(map(_spread, ways)),
            all(np.mean(differences) > 0 for differences in ways),
        )

    def largest(name: str) -> list[float]:
        return [100 * max(one.shares.values()) for one in rows[name]]

    return (
        above("without masks", ".478 and .232 to .395 and .133"),
        above("without AdaIN", "to .208 and .080"),
        above("without perceptual loss", "to .286 and .093"),
        above("UNIT", "to .178 and .074"),
        above(CYCLEGAN, "to .214 and .089"),
        Finding(
            "EGSC-IT, section 4: with the exemplar's statistics translations do not collapse to the dominant colours",
            f"the most frequent pair has {_spread(largest(FULL), 0)} %; without AdaIN "
            f"{_spread(largest('without AdaIN'), 0)} %, among the exemplars {_spread(largest(ANSWERS), 0)} %",
            bool(np.mean(largest(FULL)) < np.mean(largest("without AdaIN"))),
        ),
    )


def grid(results: Mapping[str, tuple[Tensor, Tensor]], held: Held) -> Image.Image:
    """Shows pictures, exemplars, the answers and what each method makes, A to B to the left and B to A to the right."""
    rows = [(held.a, held.b), (held.b, held.a), (held.a_to_b, held.b_to_a), *results.values()]
    gap = np.full((SIDE, 8, 3), 255, np.uint8)
    lines = []
    for sides in rows:
        left, right = (list(to_frames(side[:SHOWN]).numpy()) for side in sides)
        lines.append(np.concatenate([*left, gap, *right], 1))
    return Image.fromarray(np.concatenate(lines))


DATA = (
    f"MNIST-Single of scikit-learn's 1797 digits at {SIDE} pixels: {PICTURES} pictures a domain, in A black and white, "
    "in B one of six pairs of red, green and blue, but digits from 5 to 9 always red on green; all have "
    f"{CONTRAST:g} of their contrast. Judged on {JUDGED} pairs of digits that are in no training picture and are of "
    "every pair of colours with the same probability, for each of which both answers are known."
)
METHOD = (
    f"Networks of width {WIDTH} with {DEPTH['reductions']} reduction and {BLOCKS} residual blocks in encoders and "
    f"decoders beside the shared ones; {STEPS} steps of the first stage, once a seed, and as many of the second for "
    f"each row, with {BATCH} picture of each domain, rates that begin at {RATE:g}, λ_c = {CONTENT}, λ_s = {STYLE}. The "
    f"perceptual loss is of a VGG-19 that learned the digits of the training pictures for {VGG_STEPS} steps, in any "
    "colours: to one with random weights a right translation was hardly more like its source than another digit. UNIT "
    "is the same without all three parts: its domains share their inner layers. CycleGAN is of width "
    f"{CYCLEGAN_NETWORKS['width']} with {CYCLEGAN_NETWORKS['blocks']} blocks, {CYCLEGAN_EPOCHS} times as long. Seeds "
    f"{', '.join(map(str, SEEDS))}, for the data too: means, lowest and highest; shares are means, in percent, of ink "
    "on background. Depth, rate, batch, steps, contrast, λ_c and λ_s (10 and 1000 in the paper) were sought in trials "
    "with other seeds: without a reduction no system told ink from background, with pure colours most lost one of "
    "them, and with larger batches, in the same time, digits were rougher."
)


def main(words: Sequence[str] | None = None) -> int:
    arguments = parsed(words, "egscit", __doc__, quick="a few steps of one seed")
    torch.set_num_threads(arguments.threads)
    stamp, started = environment(threads=arguments.threads), time.perf_counter()
    pictures, judged = (16, SHOWN) if arguments.quick else (PICTURES, JUDGED)
    rows: dict[str, list[Judged]] = {}
    shown: Image.Image | None = None
    for seed in SEEDS[:1] if arguments.quick else SEEDS:
        data = prepared(arguments.runs / f"data-{seed}", seed, pictures=pictures, judged=judged)
        held = Held.read(data)
        runs = trainings(arguments.runs, data, seed, quick=arguments.quick)
        results = {name: made(trainer, held) for name, trainer in runs.items()}
        shown = shown or grid(results, held)
        for name, both in (results | {COPY: (held.a, held.b), ANSWERS: (held.a_to_b, held.b_to_a)}).items():
            rows.setdefault(name, []).append(judge(both, held))
    assert shown is not None
    effect = Effect(
        title="EGSC-IT: digits in the colours of an exemplar",
        data=DATA,
        method=METHOD,
        table=[
            ["method", "SSIM A→B", "SSIM B→A", *rows[FULL][0].shares],
            *(row(name, judged) for name, judged in rows.items()),
        ],
        findings=findings(rows),
        figures={name: [asdict(one) for one in judged] for name, judged in rows.items()},
        seconds=time.perf_counter() - started,
        environment=stamp,
    )
    publish(effect, shown, arguments, "egscit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
