"""Batches that are computed in parts: the step of the whole batch where no loss couples images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from i2i_rt.cli import main
from i2i_rt.errors import I2IError
from i2i_rt.systems.base import Batch
from i2i_rt.training.processes import Processes
from i2i_rt.training.recipes import options_of
from i2i_rt.training.trainer import Trainer

SMALL = {"width": 4, "blocks": 1, "discriminator_width": 4, "crop_size": 32, "batch": 4}


@pytest.fixture
def double() -> Iterator[None]:
    """Adam's first steps take rounding for gradients; in float64 it is small enough to compare weights."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def trained(accumulate: int, steps: int = 3) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    options = options_of("cyclegan", "", accumulate=accumulate, **SMALL)
    trainer = Trainer(options, Processes(0, 1, torch.device("cpu")), steps=steps)
    generator, losses = torch.Generator().manual_seed(0), []
    for _ in range(steps):
        batch = Batch(*(torch.rand(4, 3, 32, 32, generator=generator) * 2 - 1 for _ in "ab"))
        losses.append(trainer.train(batch, 0))
    weights = {key: value for key, value in trainer.system.state_dict().items() if isinstance(value, Tensor)}
    return losses, weights


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("parts", [2, 4])
def test_parts_take_the_step_of_the_whole_batch(parts: int) -> None:
    whole, pieces = trained(1), trained(parts)

    for expected, found in zip(whole[0], pieces[0], strict=True):
        assert found.keys() == expected.keys()
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-9)
    for name, expected in whole[1].items():
        torch.testing.assert_close(pieces[1][name], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("system", "options", "words"),
    [
        pytest.param("cyclegan", ["--batch", "3"], "--batch is 3; give a multiple of 2", id="parts"),
        pytest.param("swapping", ["--batch", "6"], "--batch is 6; give a multiple of 4", id="pairs-in-parts"),
    ],
)
def test_batch_that_cannot_be_cut_is_refused(
    system: str, options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", system, "--data", str(tmp_path), "-o", str(tmp_path / "run"), "--accumulate", "2", *options]

    assert main(command) == 2

    assert words in capsys.readouterr().err


def test_system_that_keeps_a_queue_of_whole_batches_is_refused() -> None:
    settings: dict[str, Any] = {"settings": {"clusters": "2", "style_dim": "6", "guiding_width": "4", "queue": "8"}}
    options = options_of("tunit", "", accumulate=2, **SMALL, **settings)

    with pytest.raises(I2IError, match="tunit keeps what it knows of whole batches; leave --accumulate out"):
        Trainer(options, Processes(0, 1, torch.device("cpu")))
