"""The benchmark of SPADE's two stages, on narrow networks, and the count of operations."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i_rt.benchmarks import spade, spade_forms
from i2i_rt.benchmarks.report import Report
from i2i_rt.errors import MediaError
from i2i_rt.layout import Plan
from i2i_rt.models.spade import SpadeGenerator, SpadeGeneratorConfig


def test_operations_are_those_that_are_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert spade.main(["--operations", "-o", str(tmp_path)]) == 0
    counted = json.loads((tmp_path / "spade-operations.json").read_text())
    # the paper's 191.3 and 281 G (Park et al. 2019, as later work counts them)
    assert round(counted["COCO-Stuff 256x256"]["dense"] / 1e9, 1) == 191.1
    assert round(counted["ADE20K 256x256"]["dense"] / 1e9, 1) == 181.2
    assert round(counted["Cityscapes 256x512"]["dense"] / 1e9, 1) == 281.3
    for one in counted.values():
        assert one["dense"] > one["columns"] > one["edges"] > one["distinct"] > one["known"] > 0
    assert "COCO-Stuff 256x256 | 191.1" in capsys.readouterr().out


def test_a_map_without_shapes_costs_little_more_than_a_known_one() -> None:
    model = replace(spade.MODELS["coco"], size=(256, 256))
    flat = [(np.zeros((256, 256), np.uint8), np.zeros((256, 256), np.uint8))]
    counted = spade.operations(model, flat)
    # 25 places near the border differ, and the middle
    assert counted.distinct_shares[1] == 25 / 256**2 and counted.distinct_shares[32] == 25 / 64
    assert counted.distinct < 1.02 * counted.known


def test_maps_of_a_folder_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("labels", "instances"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.arange(40 * 60, dtype=np.uint8).reshape(40, 60) // 16).save(tmp_path / name / "a.png")
    small = replace(spade.MODELS["coco-vae"], runs=(("openvino", "fp32"),))
    small = replace(small, size=(64, 64), config=replace(small.config, style=8, first_size=(2, 2)))
    monkeypatch.setattr(spade, "MODELS", {"coco": small})
    words = [str(tmp_path / "labels"), "--instances", str(tmp_path / "instances"), "--models", "coco"]
    assert spade.main([*words, "--quick", "--width", "2", "-o", str(tmp_path / "out")]) == 0
    dense, *split = Report.read(tmp_path / "out" / "spade.json").rows
    assert [row.case for row in split] == ["another map", "5 % repainted", "another style"]
    assert not dense.ratios and all(row.ratios["dense"] > 0 and row.largest_difference is not None for row in split)
    assert "layout" in split[0].note


def test_a_folder_without_maps_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="holds no label map"):
        spade.main([str(tmp_path), "--operations", "-o", str(tmp_path / "out")])


def test_forms_are_compared_at_every_resolution(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = replace(spade.MODELS["coco"], config=SpadeGeneratorConfig(4, width=2, hidden=8), size=(64, 64))
    monkeypatch.setattr(spade_forms, "MODELS", {"coco": model})
    monkeypatch.setattr(spade_forms, "divisors", lambda generator: [2, 1])
    assert spade_forms.main(["--width", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == ["| 1/2", "| 1/1"]
    assert all(float(cell) > 0 for line in lines for cell in line.strip("| ").split(" | ")[2:])


def test_forms_are_the_same_scales_and_shifts() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = SpadeGenerator(SpadeGeneratorConfig(4, width=2, hidden=8, norm="instance")).eval()
    labels = np.random.default_rng(0).integers(0, 4, (1, 32, 32), np.uint8)
    plan = Plan(spade_forms.layout_spec(generator))
    plan.update(labels, None)
    lists = {name: torch.from_numpy(array) for name, array in plan.layout_inputs().items()}
    convolved, listed = spade_forms.stages(generator, 1)
    maps = convolved.module(torch.from_numpy(labels), torch.zeros_like(torch.from_numpy(labels)))
    tables = listed.module(lists["patterns_1"], lists["patches_1"])
    for table, scale, shift in zip(tables, maps[::2], maps[1::2], strict=True):
        rows = table[torch.from_numpy(plan.levels[1].patches.numbers)].permute(0, 3, 1, 2)
        torch.testing.assert_close(rows, torch.cat([1 + scale, shift], 1), rtol=1e-5, atol=1e-5)
