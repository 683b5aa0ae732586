"""Train a system on folders of pictures, and write a bundle that can be exported.

  i2i-rt train fastcut --data photos/ -o runs/sketch
  i2i-rt train fastcut -o runs/sketch --resume
  i2i-rt train pix2pix --data facades/ -o runs/facades --direction BtoA
  torchrun --nproc-per-node 4 -m i2i_rt train cut --data photos/ -o runs/cut --batch 4

Systems, by the pictures that they learn from:

  unrelated ones of two kinds    cyclegan, cut, fastcut, munit, unit, unit-shared; sincut of one picture each
  the same, in stages            egscit-masks, egscit; gpunit, gpunit-sampler
  several classes, linked        gpunit-prior, the stage before gpunit
  pairs                          pix2pix, bicyclegan, munit-paired
  pairs, in stages               step-styles, step, step-finetune, step-mapper
  label maps with pictures       spade, segmentation
  and those of another look      cycada
  several domains                starganv2, smoothing
  without any order              tunit, tunit-smoothing, swapping

Options that are left out have the paper's values. 'i2i-rt train SYSTEM --explain' says what data a system takes, which
values those are, and what --set can change. Ctrl-C saves; --resume goes on as if nothing had happened.
"""

import argparse
import importlib.util
import inspect
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from i2i_rt.cli.assignment import assignment
from i2i_rt.errors import I2IError, MissingDependencyError

if TYPE_CHECKING:
    from i2i_rt.training.loop import Outcome
    from i2i_rt.training.options import TrainingOptions

MAY_CHANGE = ("data", "threads")
OPTIONS = {"system": "the system", "settings": "--set", "start": "--from"}  # that have another name than their field


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("system", help="a system's name, of those above")
    parser.add_argument("--data", help="folder with the pictures")
    parser.add_argument("-o", "--output", type=Path, help="folder of the run")
    parser.add_argument("--explain", action="store_true", help="say what data the system takes and what can be set")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the output folder")
    parser.add_argument(
        "--from",
        dest="start",
        metavar="RUN",
        help="begin with the weights of another run: of all networks of equal name",
    )
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        metavar="NAME=VALUE",
        help="a setting of the system, such as the weight of a loss; may be given several times",
    )
    data = parser.add_argument_group("data")
    data.add_argument("--direction", help="AtoB or BtoA (default: AtoB)")
    data.add_argument(
        "--resize",
        help="square: to load-size squared, as in most papers; short: the shorter side to load-size; "
        "none: crops from the whole picture (default: the paper's)",
    )
    data.add_argument("--load-size", type=int, help="pixels that pictures are scaled to (default: the paper's)")
    data.add_argument("--crop-size", type=int, help="pixels of the random crops (default: the paper's)")
    data.add_argument("--workers", type=int, default=2, help="threads that prepare crops (default: 2)")
    network = parser.add_argument_group("networks")
    network.add_argument("--width", type=int, help="channels of the generator's outer layer (default: the paper's)")
    network.add_argument("--blocks", type=int, help="residual blocks of the generator (default: the paper's)")
    network.add_argument("--discriminator-width", type=int, help="channels of its first layer (default: the paper's)")
    network.add_argument(
        "--antialias",
        action=argparse.BooleanOptionalAction,
        help="low-pass filters in place of strided and transposed convolutions (default: cut and fastcut have them)",
    )
    training = parser.add_argument_group("training")
    training.add_argument("--epochs", type=int, help="epochs with the full learning rate (default: the paper's)")
    training.add_argument("--decay-epochs", type=int, help="epochs in which it falls (default: the paper's)")
    training.add_argument("--steps", type=int, help="end after so many steps, although epochs are left")
    training.add_argument("--batch", type=int, help="images a step, of all processes together (default: the paper's)")
    training.add_argument(
        "--accumulate",
        type=int,
        help="parts that a batch is computed in, to save memory (default: 1)",
    )
    training.add_argument("--learning-rate", type=float, help="of most networks (default: the paper's)")
    training.add_argument("--precision", help="fp32 or bf16, mixed (default: fp32)")
    training.add_argument("--seed", type=int, help="of weights, crops and patches (default: 0)")
    training.add_argument("--threads", type=int, help="CPU threads to compute with (default: PyTorch's own choice)")
    training.add_argument("--save-every", type=int, default=500, help="steps between checkpoints (default: 500)")
    training.add_argument("--sample-every", type=int, default=500, help="steps between sample grids (default: 500)")
    training.add_argument(
        "--evaluate-every", type=int, default=500, help="steps between scores of held-out pictures (default: 500)"
    )


def run(arguments: argparse.Namespace) -> int:
    for package in ("torch", "torchvision", "tensorboard"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package, "train", "training")
    if arguments.explain:
        print(_explanation(arguments.system))
        return 0
    if arguments.output is None:
        raise I2IError("no output: name the folder of the run with -o")
    import torch

    from i2i_rt.training.loop import Schedule, train
    from i2i_rt.training.processes import joined_processes
    from i2i_rt.training.run_folder import RunFolder

    for name in ("steps", "save_every", "sample_every", "evaluate_every", "workers"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise I2IError(f"--{name.replace('_', '-')} is {value}; it must be at least 1")
    folder = RunFolder(arguments.output)
    options = _resumed(arguments, folder) if arguments.resume else _fresh(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    schedule = Schedule(
        arguments.steps,
        arguments.save_every,
        arguments.sample_every,
        arguments.evaluate_every,
        arguments.workers,
    )
    with joined_processes() as processes:
        outcome = train(options, folder, schedule, processes, resume=arguments.resume)
        if processes.first:
            print(_summary(arguments, options, outcome, processes.count))
    return 0 if outcome.step >= outcome.total else 130


def _explanation(name: str) -> str:
    """Says what a system is trained on, the paper's values of the options, and the settings."""
    from i2i_rt.systems.table import find
    from i2i_rt.training.data import LAYOUTS
    from i2i_rt.training.recipes import SHAPE

    _, recipe = find(name)
    values = {option: getattr(recipe, option) for option in ("epochs", "decay_epochs", "batch")}
    values |= {option: getattr(recipe, option) for option in ("resize", "load_size", "crop_size", "learning_rate")}
    values |= {option: getattr(recipe.shape, option) for option in SHAPE if option in recipe.uses}
    lines = [
        f"data      {LAYOUTS[recipe.data]}",
        "options   " + " ".join(f"--{option.replace('_', '-')} {value}" for option, value in values.items()),
    ]
    if recipe.epoch_images is not None:
        lines.append(f"epochs    of {recipe.epoch_images} images, whatever the size of the set")
    settings = recipe.settings.described()
    lines += [f"settings  {settings or 'none'}"]
    if settings:
        lines += ["", inspect.getdoc(recipe.settings) or ""]
    return "\n".join(lines)


def _fresh(arguments: argparse.Namespace) -> "TrainingOptions":
    """Fills in the paper's values where an option was left out."""
    from i2i_rt.training.recipes import options_of

    if arguments.data is None:
        raise I2IError("no data: name the folder with the pictures with --data")
    return options_of(**_given(arguments))


def _resumed(arguments: argparse.Namespace, folder: Any) -> "TrainingOptions":
    """Takes the run's own options; the data may have moved, and other threads cost only the last bits."""
    from i2i_rt.training.options import TrainingOptions

    kept = TrainingOptions.from_json(folder.options()).to_json()
    for name, value in _given(arguments).items():
        if name not in MAY_CHANGE and value != kept[name]:
            option = OPTIONS.get(name, f"--{name.replace('_', '-')}")
            raise I2IError(
                f"{option} is {_shown(value)} and the run in {folder.path} was started with {_shown(kept[name])}; "
                "leave it out, or start another run without --resume"
            )
    return TrainingOptions.from_json(kept | _given(arguments))


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}={text}" for name, text in value.items()) or "the paper's values"
    return str(value)


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Gives the options that were named on the command line and that define the run."""
    from i2i_rt.training.options import TrainingOptions

    names = [field.name for field in fields(TrainingOptions)]
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    if arguments.settings is not None:
        given["settings"] = dict(assignment(text) for text in arguments.settings)
    return given


def _summary(arguments: argparse.Namespace, options: "TrainingOptions", outcome: "Outcome", processes: int) -> str:
    folder = arguments.output
    finished = outcome.step >= outcome.total
    lines = []
    if outcome.trained:
        speed = outcome.trained * options.batch / outcome.seconds
        lines.append(
            f"{'trained' if finished else 'interrupted after'} {outcome.step} of {outcome.total} steps: "
            f"{outcome.trained} steps in {outcome.seconds:.0f} s, {speed:.2f} images/s, "
            f"{outcome.waited_s / outcome.seconds:.1%} of it waiting for data"
        )
    else:
        lines.append(f"the run has all its {outcome.step} steps; a larger --steps, if epochs are left, goes on")
    if outcome.bad_files:
        lines.append(f"left out files that cannot be used: {outcome.bad_files}; they are named above")
    if outcome.bundles:
        bundle, *others = outcome.bundles
        size = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file()) / 1e6
        lines.append(f"bundle   {bundle} ({size:.1f} MB)")
        lines += [f"         {other} (the way back)" for other in others]
    lines += [
        f"samples  {folder / 'samples'}",
        f"losses   tensorboard --logdir {folder / 'tensorboard'}",
    ]
    if finished:
        export = f"i2i-rt export {outcome.bundles[0]}" if outcome.bundles else f"i2i-rt train … --from {folder}"
        lines.append(f"next     {export}")
    else:
        command = "i2i-rt" if processes == 1 else f"torchrun --nproc-per-node {processes} -m i2i_rt"
        lines.append(f"go on    {command} train {options.system} -o {folder} --resume")
    return "\n".join(lines)
