"""The speed of every system: a short run of one, and the table."""

from pathlib import Path

import pytest

from i2i_rt.benchmarks import training_systems
from i2i_rt.benchmarks.measure import Timing
from i2i_rt.benchmarks.training_systems import Setting, Speed, main, measure_switch, measure_system, prepared
from i2i_rt.errors import I2IError
from i2i_rt.systems.table import SYSTEMS
from i2i_rt.training.data import open_sampler


def test_a_system_is_measured_with_its_data(tmp_path: Path) -> None:
    setting = Setting(size=32, width=4, batch=2, steps=1, precision="fp32", threads=None, compiled=())

    options = prepared("tunit", setting, tmp_path)
    speed = measure_system(options, setting)

    assert speed.images_per_s == pytest.approx(2000 / speed.step.p50_ms)
    assert 0 <= speed.waited < 1 and speed.parameters > 0
    assert measure_switch(options, setting, "channels-last") > 0
    assert len(list((tmp_path / "views" / "train").iterdir())) == 2 * 3


@pytest.mark.parametrize("arrangement", sorted({recipe.data for _, recipe in SYSTEMS.values()}))
def test_every_set_is_one_that_a_system_trains_on(arrangement: str, tmp_path: Path) -> None:
    system, recipe = next((name, recipe) for name, (_, recipe) in SYSTEMS.items() if recipe.data == arrangement)
    setting = Setting(size=32, width=4, batch=2, steps=0, precision="fp32", threads=None, compiled=())

    sampler = open_sampler(prepared(system, setting, tmp_path), recipe)

    assert all(field is None or len(field) == 2 for field in sampler.batch(0, slice(0, 2)))


def test_table_has_a_line_a_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = Timing.of([[0.25], [0.25]])
    speeds = [
        Speed("cut", 2_500_000, step, 16.0, 0.031, 100.4, {"channels-last": 0.9, "compiled": 1.2}),
        Speed("pix2pix", 1_000_000, step, 16.0, 0.0, None, {"channels-last": None}),
    ]
    monkeypatch.setattr(training_systems, "measure", lambda setting, systems, progress: speeds)

    assert main(["--only", "cut,pix2pix", "-o", str(tmp_path)]) == 0

    lines = (tmp_path / "training-systems.md").read_text()
    assert "| cut | 2.50 | 250 | 16 | 100 | 3.1% | 0.90 | 1.20 |" in lines
    assert "| pix2pix | 1.00 | 250 | 16 |  | 0.0% | crashes |  |" in lines
    assert "| cut | 2.50" in capsys.readouterr().out
    with pytest.raises(I2IError, match="did you mean 'cut'"):
        main(["--only", "cuts"])
