"""A run that stops, in whatever way, goes on as if it had not."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from i2i_rt.bundle import Bundle
from i2i_rt.errors import I2IError
from i2i_rt.models import table
from i2i_rt.systems.table import find
from i2i_rt.training.loop import Outcome, Schedule, train
from i2i_rt.training.options import TrainingOptions
from i2i_rt.training.processes import Processes
from i2i_rt.training.run_folder import RunFolder
from i2i_rt.training.trainer import Trainer

ALONE = Processes(0, 1, torch.device("cpu"))
DATA = {
    "cyclegan": "photos",
    "cut": "photos",
    "fastcut": "photos",
    "sincut": "single",
    "pix2pix": "pairs",
    "tunit": "domains",
}
# the guiding network learns alone in the first three steps
SETTINGS = {"tunit": {"clusters": "2", "style_dim": "4", "guiding_width": "4", "queue": "6", "separated": "0.00003"}}


def options_of(system: str, data: Path, **changes: Any) -> TrainingOptions:
    _, recipe = find(system)
    crop = 64 if system == "sincut" else 32
    return TrainingOptions(
        **{
            "system": system,
            "data": str(data),
            "epochs": 1,
            "decay_epochs": 5,
            "batch": 2,
            "load_size": crop + 4,
            "crop_size": crop,
            "learning_rate": 1e-3,
            "width": 4,
            "blocks": 1,
            "discriminator_width": 4,
            "antialias": recipe.shape.antialias,
            "settings": SETTINGS.get(system, {}),
            **changes,
        }
    )


def run_steps(
    options: TrainingOptions, folder: Path, steps: int, resume: bool = False, **schedule: int
) -> tuple[list[dict[str, float]], Outcome]:
    seen: list[dict[str, float]] = []
    plan = Schedule(steps=steps, **{"save_every": 100, "sample_every": 100, **schedule})
    outcome = train(
        options, RunFolder(folder), plan, ALONE, resume=resume, observe=lambda _, losses: seen.append(losses)
    )
    return seen, outcome


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    state = RunFolder(folder).read_state(torch.device("cpu"))["system"]
    return {key: tensor for key, tensor in state.items() if isinstance(tensor, torch.Tensor)}


@pytest.mark.parametrize("system", list(DATA))
def test_three_steps_and_three_more_are_six(system: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    options = options_of(system, request.getfixturevalue(DATA[system]))

    whole, _ = run_steps(options, tmp_path / "whole", 6)
    first, _ = run_steps(options, tmp_path / "halves", 3)
    second, outcome = run_steps(options, tmp_path / "halves", 6, resume=True)

    assert outcome.trained == 3 and outcome.step == 6
    assert first + second == whole
    expected, actual = weights_in(tmp_path / "whole"), weights_in(tmp_path / "halves")
    assert expected.keys() == actual.keys()
    assert all(torch.equal(expected[key], actual[key]) for key in expected)
    bundles = [Bundle.open(tmp_path / name / "bundle").weights_sha256() for name in ("whole", "halves")]
    assert bundles[0] == bundles[1]


def test_ctrl_c_ends_after_the_step_and_keeps_it(photos: Path, tmp_path: Path) -> None:
    options, run = options_of("fastcut", photos), RunFolder(tmp_path / "run")

    def interrupt(step: int, losses: dict[str, float]) -> None:
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    outcome = train(options, run, Schedule(steps=6), ALONE, observe=interrupt)

    assert 2 <= outcome.step <= 3 < outcome.total
    assert run.read_state(torch.device("cpu"))["step"] == outcome.step
    assert Bundle.open(tmp_path / "run" / "bundle").provenance.source.startswith("trained by i2i-rt train fastcut")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Killed(BaseException):
    """Stands in for kill -9: nothing that follows is run, not even handlers of errors."""


def dying(call: Callable[..., Any]) -> Callable[..., Any]:
    def die(*arguments: Any, **options: Any) -> Any:
        raise Killed

    return die


def halved(call: Callable[..., Any]) -> Callable[..., Any]:
    def write_half(state: Any, stream: Any) -> None:
        stream.write(b"PK\x03\x04 half a checkpoint")
        raise Killed

    return write_half


@pytest.mark.parametrize(
    ("target", "name", "replacement"),
    [
        pytest.param(torch, "save", halved, id="within-the-checkpoint"),
        pytest.param(os, "fsync", dying, id="before-it-is-on-the-disk"),
        pytest.param(Path, "replace", dying, id="before-the-checkpoint-takes-its-place"),
        pytest.param(Bundle, "create", dying, id="before-the-bundle"),
        pytest.param(table, "weights_of", dying, id="within-the-bundle"),
        pytest.param(Path, "rmdir", dying, id="after-the-bundle"),
    ],
)
def test_kill_in_the_middle_of_a_save_leaves_a_usable_run(
    target: Any, name: str, replacement: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, run = options_of("fastcut", photos), tmp_path / "run"
    run_steps(options, run, 2)
    with monkeypatch.context() as patch:
        patch.setattr(target, name, replacement(getattr(target, name)))
        with pytest.raises(Killed):
            run_steps(options, run, 4, resume=True, save_every=3)

    left = RunFolder(run).read_state(torch.device("cpu"))["step"]
    assert left in (2, 3)
    table.load(Bundle.open(run / "bundle"))
    whole, _ = run_steps(options, tmp_path / "whole", 4)
    rest, _ = run_steps(options, run, 4, resume=True)
    assert rest == whole[left:]
    assert not [file.name for file in run.iterdir() if file.name.endswith(".part")]


def test_another_run_is_not_overwritten(photos: Path, tmp_path: Path) -> None:
    run_steps(options_of("fastcut", photos), tmp_path / "run", 1)

    with pytest.raises(I2IError, match="holds a run already; add --resume"):
        run_steps(options_of("fastcut", photos), tmp_path / "run", 1)


def test_folder_with_other_files_is_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(I2IError, match="exists and is no run"):
        run_steps(options_of("fastcut", photos), photos, 1)


def test_damaged_checkpoint_is_named(photos: Path, tmp_path: Path) -> None:
    run_steps(options_of("fastcut", photos), tmp_path / "run", 1)
    (tmp_path / "run" / "state.pt").write_bytes(b"PK\x03\x04")

    with pytest.raises(I2IError, match=r"the checkpoint .*state.pt is damaged"):
        run_steps(options_of("fastcut", photos), tmp_path / "run", 2, resume=True)


def test_diverged_losses_end_the_run_and_keep_the_checkpoint(photos: Path, tmp_path: Path) -> None:
    options = options_of("fastcut", photos)
    run_steps(options, tmp_path / "run", 1)
    state = RunFolder(tmp_path / "run").read_state(torch.device("cpu"))
    state["system"]["discriminator.layers.0.weight"].fill_(float("nan"))
    RunFolder(tmp_path / "run").write_state(state)

    with pytest.raises(I2IError, match=r"training diverged: D_fake is nan at step 2; .*--learning-rate below 0.001"):
        run_steps(options, tmp_path / "run", 3, resume=True)


def test_full_disk_keeps_the_checkpoint_before(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, run = options_of("fastcut", photos), tmp_path / "run"
    run_steps(options, run, 1)

    def fill(state: Any, stream: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fill)
    with pytest.raises(I2IError, match=r"state.pt cannot be written \(.*No space left.*the one before is kept"):
        run_steps(options, run, 2, resume=True)

    assert RunFolder(run).read_state(torch.device("cpu"))["step"] == 1


def test_each_process_takes_its_own_pool_from_a_checkpoint(photos: Path) -> None:
    options = options_of("cyclegan", photos)
    trainers = [Trainer(options, ALONE) for _ in range(2)]
    for number, trainer in enumerate(trainers):
        trainer.system.pools["a"].images = [torch.full((1,), float(number))]
    state = trainers[0].state()
    state["pools"] += trainers[1].state()["pools"]

    second = Trainer(options, ALONE)
    second.processes = Processes(1, 2, ALONE.device)
    second.load_state(state)

    assert second.system.pools["a"].images == [torch.ones(1)]
