"""Runs a case: draws its weights and inputs by the rules, asks a family for the answer, compares."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.parity import (
    arcface,
    bicyclegan,
    cycada,
    egscit,
    gpunit,
    metrics,
    munit,
    single,
    spade,
    stargan,
    step,
    swapping,
    tunit,
)
from tests.parity.case import Answer, UnsupportedCase

FAMILIES = (single, gpunit, swapping, stargan, tunit, munit, bicyclegan, spade, cycada, step, egscit, arcface, metrics)


@dataclass(frozen=True)
class Result:
    """The largest error of a case's outputs, each relative to its own scale."""

    case: str
    error: float
    tolerance: float
    passed: bool

    def line(self) -> str:
        return (
            f"{self.case:<48} {self.error:9.2e}  (tolerance {self.tolerance:.0e})  {'PASS' if self.passed else 'FAIL'}"
        )


def draw(case: str, key: str, entry: Mapping[str, Any], stored: Mapping[str, np.ndarray]) -> np.ndarray:
    """Draws the tensor `key` (with its group in front) of a case; the same numbers on every machine."""
    rule, shape = entry["rule"], entry["shape"]
    if rule["kind"] == "stored":
        return stored[key]
    seed = hashlib.sha256(f"{case}/{key}".encode()).digest()[:8]
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(seed, "little")))
    if rule["kind"] == "normal":
        drawn = generator.standard_normal(shape, dtype=np.float64) * rule.get("std", 1.0) + rule.get("mean", 0.0)
    elif rule["kind"] == "uniform":
        drawn = generator.random(shape, dtype=np.float64) * (rule["high"] - rule["low"]) + rule["low"]
    elif rule["kind"] == "constant":
        drawn = np.full(shape, rule["value"], dtype=np.float64)
    elif rule["kind"] == "labels":
        return draw_labels(generator, shape, rule["classes"], rule.get("regions", 12))
    else:
        raise UnsupportedCase(f"rule {rule['kind']!r}")
    return drawn.astype(rule.get("dtype", "float32"))


def draw_labels(generator: np.random.Generator, shape: Sequence[int], classes: int, regions: int) -> np.ndarray:
    """Draws maps of classes `[…, H, W]`, int64: rectangles over one another, the order of the draws being the rule."""
    height, width = shape[-2:]
    planes = np.zeros((math.prod(shape[:-2]), height, width), np.int64)
    for plane in planes:
        for _ in range(regions):
            top, left = generator.integers(0, height), generator.integers(0, width)
            # the value is drawn before the rectangle's far corner
            value = generator.integers(0, classes)
            bottom, right = top + generator.integers(1, height + 1), left + generator.integers(1, width + 1)
            plane[top:bottom, left:right] = value
    return planes.reshape(shape)


def run_case(folder: Path) -> Result:
    """Runs one case.

    Raises:
        UnsupportedCase: where no network, loss or pre-processing of ours answers it.
    """
    case = json.loads((folder / "case.json").read_text())
    with np.load(folder / "tensors.npz") as stored:
        answer = find_answer(case)
        inputs = {
            name: torch.from_numpy(draw(case["case"], f"inputs/{name}", entry, stored))
            for name, entry in case["inputs"].items()
        }
        state = {
            key: torch.from_numpy(np.asarray(draw(case["case"], f"state/{key}", entry, stored)))
            for key, entry in case["state"].items()
        }
        expected = {name: stored[f"outputs/{name}"] for name in case["outputs"]}
    cuts = {name: full_output(name, case.get("slices", {})) for name in expected}
    with torch.no_grad():
        full = answer(case, state, inputs, {whole for whole, _ in cuts.values()})
    errors, passed = [], True
    for name, reference in expected.items():
        whole, index = cuts[name]
        actual = np.asarray(full[whole])[index]
        if actual.size == reference.size == 1:  # a scalar may be stored as [1]
            actual = actual.reshape(reference.shape)
        if actual.shape != reference.shape:
            return Result(folder.name, float("inf"), case["tolerance"], passed=False)
        scale = case.get("scale", {}).get(name) or float(np.abs(reference).max()) or 1.0
        difference = np.abs(actual.astype(np.float64) - reference) / scale
        outliers = case.get("outliers", {})
        share = outliers.get(name, 0.0) if isinstance(outliers, Mapping) else outliers
        # NaN compares as False, so it counts as outside
        passed &= float((~(difference <= case["tolerance"])).mean()) <= share
        errors.append(float(np.nan_to_num(difference, nan=np.inf).max()))
    return Result(folder.name, max(errors), case["tolerance"], passed)


def full_output(name: str, slices: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """Gives the whole output that a stored one was cut from, and the cut."""
    cut = slices.get(name)
    if cut is None:
        return name, ()
    whole, text = (name, cut) if isinstance(cut, str) else (cut["of"], cut["index"])
    return whole, tuple(_index(part.strip()) for part in text.strip("[]").split(","))


def _index(text: str) -> Any:
    if text == "...":
        return Ellipsis
    if ":" not in text:
        return int(text)
    return slice(*(int(part) if part.strip() else None for part in text.split(":")))


def find_answer(case: Mapping[str, Any]) -> Answer:
    """Gives what answers a case, by its system and network."""
    for family in FAMILIES:
        answer = family.find(case)
        if answer is not None:
            return answer
    raise UnsupportedCase(f"{case['system']}: {case['network']}")


def case_folders(paths: Iterable[Path]) -> list[Path]:
    """Gives the folders that are cases: those named, and those inside the named ones."""
    folders = []
    for path in paths:
        folders += (
            [path] if (path / "case.json").is_file() else sorted(file.parent for file in path.glob("*/case.json"))
        )
    return folders
