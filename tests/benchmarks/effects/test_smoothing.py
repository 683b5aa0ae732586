"""Smoothing's experiment: the answers that its pictures have, its measures, and that it runs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from i2i_rt.benchmarks.effects import smoothing, smoothing_data
from i2i_rt.benchmarks.effects.smoothing import Scores, findings, main, path, pixel_smoothness


@pytest.mark.parametrize(("domain", "tints"), [*enumerate(smoothing_data.DOMAINS.values())])
def test_rules_know_the_domains_of_drawn_pictures(domain: int, tints: tuple[float, float]) -> None:
    generator = np.random.default_rng(1)
    drawn = [smoothing_data.draw(tint, contrast, generator) for tint in tints for contrast in (0.0, 1.0)]
    pictures = np.stack(drawn) / 255

    assert (smoothing_data.domain_of(pictures) == domain).all()
    assert (smoothing_data.shape_of(pictures).mean((1, 2)) > 0.05).all()


def test_rules_find_the_shape_where_it_is() -> None:
    picture = np.full((1, 8, 8, 3), 0.4)
    picture[0, 2:5, 3:6] = (0.9, 0.2, 0.1)

    shape = smoothing_data.shape_of(picture)

    assert shape.sum() == 9
    assert shape[0, 2:5, 3:6].all()
    assert smoothing_data.domain_of(np.full((1, 8, 8, 3), 0.4)).tolist() == [-1]


def test_smoothness_of_pixels_of_a_cross_fade_is_full_and_of_a_jump_is_none() -> None:
    first, last = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    share = torch.linspace(0, 1, 21).view(-1, 1, 1, 1)
    fade, jump = torch.lerp(first, last, share), torch.lerp(first, last, (share > 0.5).float())

    scores = pixel_smoothness(torch.stack([fade, jump]))

    assert scores[0] == pytest.approx(1, abs=1e-3)
    assert scores[1] < 0.15


class Painter(nn.Module):
    """A generator that paints the whole image in a style's first number."""

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        return style[:, :1, None, None].expand_as(image) * 2


def test_path_goes_from_one_style_to_the_other_in_even_steps() -> None:
    images = path(Painter(), torch.zeros(3, 4, 4), torch.tensor([0.0, 9.0]), torch.tensor([0.4, 9.0]), steps=4)

    assert images[:, 0, 0, 0].tolist() == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])


def scores(ps: float, path_fd: float) -> Scores:
    return Scores(ps, 0.5, 0.8, ps, ps, ps, path_fd, 0.3, 0.1, 0.5, 1.0)


@pytest.mark.parametrize(
    ("smooth", "holds"),
    [
        pytest.param((0.5, 0.72), True, id="higher-for-each-seed-though-seeds-differ-more"),
        pytest.param((0.9, 0.6), False, id="differences-that-the-seeds-do-not-share"),
        pytest.param((0.3, 0.5), False, id="lower"),
    ],
)
def test_claim_of_smoothness_holds_where_the_losses_change_every_seed(smooth: tuple[float, ...], holds: bool) -> None:
    found = findings({"plain": [scores(0.4, 1.0), scores(0.6, 1.0)], "smooth": [scores(ps, 1.0) for ps in smooth]})

    assert found[0].holds is holds


@pytest.mark.parametrize(("distances", "holds"), [((1.0, 1.3), True), ((1.5, 1.6), False)])
def test_claim_of_quality_holds_where_the_distance_is_not_larger(distances: tuple[float, ...], holds: bool) -> None:
    smooth = [scores(0.6, distance) for distance in distances]

    found = findings({"plain": [scores(0.4, 1.0), scores(0.5, 1.2)], "smooth": smooth})

    assert next(finding for finding in found if "Fréchet" in finding.claim).holds is holds


def test_experiment_runs_and_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoothing_data, "TRAIN", 4)
    monkeypatch.setattr(smoothing_data, "HELD_OUT", 2)
    monkeypatch.setattr(smoothing, "PATH_STEPS", 3)
    words = ["-o", str(tmp_path / "results"), "--runs", str(tmp_path / "runs"), "--quick"]
    words += ["--picture", str(tmp_path / "picture.png")]

    codes = [main(words), main(words)]

    assert codes == [0, 0]
    record = json.loads((tmp_path / "results" / "effects-smoothing.json").read_text())
    assert set(record["figures"]) == {"plain", "smooth"}
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size == (10 * 32 * 2, 8 * 32 * 2)
