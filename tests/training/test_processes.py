"""Data-parallel training: two gloo processes with one image each train as one process with both."""

import json
from pathlib import Path
from typing import Any

import pytest

from i2i_rt.errors import I2IError
from i2i_rt.training.processes import Processes
from tests.processes import run_together

# Dropout's masks are drawn for the images that a process has, and batch norm takes the statistics of those images:
# neither can agree. So dropout is left out, and the single process takes each image's own statistics, which are what
# a process with one image has.
# In float32, rounding may grow from 1e-7 to 1e-3 in three steps, because Adam takes a gradient that should be zero for
# as good as any other.
TRAIN = """
import json, sys
from pathlib import Path
import torch
from i2i_rt.kernels import norm_act
from i2i_rt.models.norm import BatchNorm, FixedDropout
from i2i_rt.systems import cycada, egscit, swapping
from i2i_rt.training.loop import Schedule, train
from i2i_rt.training.processes import joined_processes
from i2i_rt.training.recipes import options_of
from i2i_rt.training.run_folder import RunFolder

torch.set_default_dtype(torch.float64)
FixedDropout.forward = lambda self, x: x
cycada.TRUSTED = float("inf")  # the semantic loss counts from the first step
egscit.TURN = 2  # the discriminators have a turn, too
swapping.PENALTY_EVERY = 2  # a penalty within the four steps
runs, seen = Path(sys.argv[1]), {}
with joined_processes() as processes:
    if processes.count == 1:
        BatchNorm.forward = lambda self, x, **after: norm_act(x, self.weight, self.bias, eps=self.eps, **after)
    for system, (data, chosen) in json.loads(sys.argv[2]).items():
        if "start" in chosen:
            chosen["start"] = str(runs / chosen["start"])
        options = options_of(
            system, str(runs.parent / data), crop_size=32,
            **({"batch": 2, "width": 4, "learning_rate": 1e-4} | chosen)
        )
        seen[system] = []
        train(options, RunFolder(runs / system), Schedule(steps=4), processes,
              observe=lambda step, losses: seen[system].append(losses))
    (runs / f"losses-{processes.rank}.json").write_text(json.dumps(seen))
"""


RESNET = {"blocks": 1, "discriminator_width": 4}
STEP = {"blocks": 1, "discriminator_width": 4, "settings": {"features": "random", "reconstruction": "l1"}}
VGG = {"settings": {"features": "random"}}  # once: it takes most of the time
# both stages of the training, some of the pictures with labels
TUNIT = {
    "batch": 4,
    "blocks": 1,
    "discriminator_width": 4,
    "epochs": 1,
    "settings": {"clusters": "2", "style_dim": "4", "guiding_width": "4", "queue": "6", "separated": "0.00025"}
    | {"labelled": "0.5", "features": "random", "regularization_start": "0"},
}
STARGAN = {"max_width": "8", "style_dim": "6", "latent_dim": "5", "mapping_width": "8", "features": "random"}
SWAPPING = {"reductions": "2", "texture_channels": "8", "max_width": "8", "patch_size": "8", "patch_width": "4"}
SWAPPING |= {"patch_hidden": "8", "crops": "2"}
EGSCIT = {"reductions": "1", "layers": "2"}
TWO_DOMAINS = {"judge_layers": "2", "judge_scales": "2", "cycle": "10"}
GPUNIT = {"reductions": "3", "vgg": "0"}
GPUNIT_STYLE = {"style_dim": "8", "bottleneck": "4"}
# the folder of the data, and the options that are not everybody's
SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "cyclegan": ("photos", RESNET | {"batch": 4, "accumulate": 2}),
    "cut": ("photos", RESNET),
    "pix2pix": ("pairs", {"discriminator_width": 4}),
    "step-styles": ("styles", {}),
    "step-finetune": ("styles", STEP | VGG | {"start": "step-styles"}),
    "step": ("styles", STEP | {"start": "step-finetune"}),
    "step-mapper": ("styles", {"blocks": 1, "start": "step"}),
    "munit-paired": ("styles", STEP | {"batch": 4}),
    "spade": (
        "labelled",
        {
            "discriminator_width": 4,
            "batch": 4,
            "width": 2,
            "settings": {"labels": "10", "hidden": "4", "vae": "true", "features": "random"},
        },
    ),
    "bicyclegan": ("styles", {"discriminator_width": 4, "batch": 4, "settings": {"features": "random"}}),
    "tunit-smoothing": ("domains", TUNIT),
    "starganv2": ("domains", {"discriminator_width": 4, "settings": STARGAN}),
    # a margin that all triplets are within, of which the processes have different numbers
    "smoothing": (
        "domains",
        {"discriminator_width": 4, "settings": STARGAN | {"margin": "9", "regularization_start": "0"}},
    ),
    "segmentation": ("streets", {"settings": {"classes": "2"}}),
    "cycada": ("streets", RESNET | {"settings": {"classes": "2", "semantic": "1"}, "start": "segmentation"}),
    "egscit-masks": ("photos", RESNET | {"settings": EGSCIT}),
    "egscit": (
        "photos",
        RESNET | {"settings": EGSCIT | {"content": "0", "style": "0"}, "start": "egscit-masks"},
    ),
    "munit": ("photos", {"blocks": 1, "discriminator_width": 4, "settings": TWO_DOMAINS}),
    "unit": ("photos", {"blocks": 1, "discriminator_width": 4, "settings": TWO_DOMAINS | {"vgg": "0"}}),
    "gpunit-prior": ("linked", {"settings": GPUNIT | {"embedding": "4"}}),
    "gpunit": (
        "photos",
        {"discriminator_width": 4, "start": "gpunit-prior"}
        | {"settings": GPUNIT | GPUNIT_STYLE | {"max_width": "8", "style_layer": "3"}},
    ),
    "gpunit-sampler": (
        "photos",
        {
            "batch": 4,
            "start": "gpunit",
            "settings": GPUNIT_STYLE | {"reductions": "3", "noise_dim": "4", "hidden": "8"},
        },
    ),
    "unit-shared": ("photos", {"blocks": 1, "discriminator_width": 4, "settings": TWO_DOMAINS | {"dropout": "0"}}),
    "swapping": ("domains", {"batch": 4, "discriminator_width": 4, "learning_rate": 1e-2, "settings": SWAPPING}),
}


def trained(runs: Path, count: int) -> dict[str, list[dict[str, float]]]:
    runs.mkdir()
    run_together(TRAIN, str(runs), json.dumps(SYSTEMS), count=count)
    return json.loads((runs / "losses-0.json").read_text())


@pytest.mark.usefixtures("photos", "pairs", "styles", "domains", "labelled", "streets", "linked")
def test_two_processes_have_the_losses_of_one_with_the_doubled_batch(tmp_path: Path) -> None:
    one, two = trained(tmp_path / "one", 1), trained(tmp_path / "two", 2)

    assert one.keys() == two.keys()
    for system in one:
        for alone, shared in zip(one[system], two[system], strict=True):
            # losses are computed in float32: what should be 0 is rounding
            assert shared == pytest.approx(alone, rel=1e-5, abs=1e-6), system
    assert (tmp_path / "two" / "cut" / "bundle" / "bundle.json").is_file()


def test_batch_that_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(I2IError, match="--batch is 3 and there are 2 processes; give a multiple of 2"):
        Processes(0, 2, None).part(3)  # type: ignore[arg-type]
