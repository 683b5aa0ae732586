"""The experiment on the Swapping Autoencoder: it runs, its factors are known, its measures say what they should."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i2i_rt.benchmarks.effects import swapping
from i2i_rt.benchmarks.effects.swapping import Judged, findings, judge, main
from i2i_rt.benchmarks.effects.swapping_data import TEXTURES, draw_layout, found_layout, iou, render


def test_quick_run_writes_a_record_and_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    words = ["-o", str(tmp_path), "--runs", str(tmp_path / "runs"), "--picture", str(picture), "--quick"]

    assert main(words) == 0

    record = json.loads((tmp_path / "effects-swapping.json").read_text())
    assert len(record["findings"]) == 3 and len(record["table"]) == 6
    assert len(record["figures"]["sifid on the way"]) == 5
    # eight pairs; both pictures, five on the way, the right one and the baseline's
    with Image.open(picture) as grid:
        assert grid.size == (8 * 64, 9 * 64)
    assert picture.stat().st_size < 300_000


def test_layout_is_found_in_a_picture_of_known_texture() -> None:
    found = []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        layout, texture = draw_layout(generator), TEXTURES[generator.integers(len(TEXTURES))]
        found.append(iou(found_layout(render(layout, texture, generator), texture), layout))

    assert np.mean(found) > 0.85 and min(found) > 0.7


def test_measures_prefer_the_right_picture() -> None:
    pairs = swapping.draw_pairs(12)

    right = judge([pair.answer for pair in pairs], pairs)
    same = judge([pair.image for pair in pairs], pairs)
    turned = judge([pair.answer[:, ::-1].copy() for pair in pairs], pairs)

    assert right.gram.mean() < same.gram.mean() / 3 and right.sifid.mean() < same.sifid.mean() / 2
    assert right.layout.mean() > same.layout.mean() + 0.3
    assert same.regions.mean() > 0.75 > turned.regions.mean() and right.regions.mean() > 0.75


@pytest.mark.parametrize(("distances", "steady"), [((3, 2, 1), True), ((3, 1, 2), False)])
def test_way_is_steady_only_where_every_step_comes_closer(distances: tuple[int, ...], steady: bool) -> None:
    swap, baseline = (Judged(*(np.full(4, value) for value in values)) for values in ((2, 1, 1, 1, 1), (1, 1, 2, 2, 1)))
    way = {float(share): np.full(4, float(distance)) for share, distance in enumerate(distances)}

    found = findings({swapping.SWAP: swap, swapping.BASELINE: baseline}, way)

    assert [finding.holds for finding in found] == [True, True, steady]
