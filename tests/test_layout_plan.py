"""The plan of label maps: every position has the number of its own neighbourhood, after any changes too."""

import numpy as np
import pytest

from i2i_rt.layout import OUTSIDE, SPARE, CollisionError, Neighbourhoods, Plan
from i2i_rt.spec import Axis, StageSpec, TensorSpec

SHAPES = [
    pytest.param((1, 1, 1), id="one-position"),
    pytest.param((2, 1, 9), id="one-row"),
    pytest.param((2, 2, 3), id="smaller-than-a-window"),
    pytest.param((3, 33, 17), id="odd-sizes"),
]


def layout_spec(divisors: tuple[int, ...] = (4, 2, 1), kernel: int = 3) -> StageSpec:
    window = Axis("window", size=kernel**2)
    inputs = [
        TensorSpec(f"{name}_{divisor}", "int32", (Axis(f"{axis}_{divisor}"), window))
        for divisor in divisors
        for name, axis in (("patterns", "V"), ("patches", "U"))
    ]
    return StageSpec("layout", tuple(inputs), ())


def drawn(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Gives a map with fields, lines and single positions of few values."""
    random = np.random.default_rng(seed)
    count, height, width = shape
    coarse = random.integers(0, 5, (count, -(-height // 4), -(-width // 4)), np.int32)
    values: np.ndarray = coarse.repeat(4, 1).repeat(4, 2)[:, :height, :width]
    return np.where(random.random(shape) < 0.05, 9, values).astype(np.int32)


def windows_of(values: np.ndarray, kernel: int) -> np.ndarray:
    """Gives the window of every position, `[N, h, w, kernel * kernel]`."""
    radius = kernel // 2
    padded = np.pad(values, ((0, 0), (radius, radius), (radius, radius)), constant_values=OUTSIDE)
    _, height, width = values.shape
    return np.stack(
        [padded[:, y : y + height, x : x + width] for y in range(kernel) for x in range(kernel)], axis=-1
    )  # fmt: skip


def assert_exact(found: Neighbourhoods, values: np.ndarray, kernel: int) -> None:
    np.testing.assert_array_equal(found.windows[found.numbers], windows_of(values, kernel))
    assert len(np.unique(found.windows, axis=0)) == len(found.windows), "a window has two numbers"


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_numbers_stand_for_the_windows(shape: tuple[int, ...], kernel: int) -> None:
    values, found = drawn(shape), Neighbourhoods(kernel)
    touched = found.update(values, None)
    assert touched.all() and found.numbers.shape == shape
    assert_exact(found, values, kernel)
    distinct = np.unique(windows_of(values, kernel).reshape(-1, kernel**2), axis=0)
    assert len(found.windows) == len(distinct)


def test_a_changed_map_keeps_its_numbers_elsewhere() -> None:
    values, found = drawn((2, 40, 30)), Neighbourhoods(3)
    found.update(values, None)
    before, count = found.numbers.copy(), len(found.windows)
    changed = values.copy()
    changed[1, 10:14, 0:5] = 7
    touched = found.update(changed, changed != values)
    assert_exact(found, changed, 3)
    np.testing.assert_array_equal(found.numbers[~touched], before[~touched])
    assert touched.sum() == 6 * 6, "a window's radius around the changed rectangle at the border"
    assert count < len(found.windows) < count + touched.sum()
    found.update(values, changed != values)
    np.testing.assert_array_equal(found.numbers, before)


def test_a_map_of_another_shape_knows_the_windows_of_the_last() -> None:
    found = Neighbourhoods(3)
    found.update(drawn((1, 32, 32)), None)
    count = len(found.windows)
    found.update(drawn((1, 32, 32))[:, 8:24, 8:24].repeat(2, axis=0), None)
    assert_exact(found, drawn((1, 32, 32))[:, 8:24, 8:24].repeat(2, axis=0), 3)
    assert count < len(found.windows) < 1.5 * count, "only windows at the border are new"


def test_equal_hashes_of_different_windows_are_found() -> None:
    found = Neighbourhoods(3)
    found._factors[:] = 1  # a window and its mirror image have the same sum
    with pytest.raises(CollisionError):
        found.update(drawn((1, 32, 32)), None)


def test_a_plan_survives_equal_hashes() -> None:
    labels, plan = drawn((1, 32, 32)).astype(np.uint8), Plan(layout_spec())
    for level in plan.levels.values():
        level.patterns._factors[:] = level.patches._factors[:] = 1
    plan.update(labels, None)
    for divisor, level in plan.levels.items():
        assert_exact(level.patterns, labels[:, ::divisor, ::divisor].astype(np.int32), 3)
        assert_exact(level.patches, level.patterns.numbers, 3)


def test_patches_lead_to_the_labels_two_steps_around() -> None:
    labels, plan = drawn((2, 32, 48)).astype(np.uint8), Plan(layout_spec())
    edges = np.random.default_rng(1).integers(0, 2, labels.shape, np.uint8)
    plan.update(labels, edges)
    inputs = plan.layout_inputs()
    for divisor, level in plan.levels.items():
        symbols = labels[:, ::divisor, ::divisor] + 256 * edges[:, ::divisor, ::divisor].astype(np.int32)
        # 0 is outside in both lists
        patterns = np.concatenate([np.zeros((1, 9), np.int32), inputs[f"patterns_{divisor}"]])
        patches = inputs[f"patches_{divisor}"][level.patches.numbers]  # [N, h, w, 9]
        around = patterns[patches]  # the pattern at each of the nine positions, [N, h, w, 9, 9]
        wide = windows_of(symbols, 5).reshape(*symbols.shape, 5, 5) + 1
        for tap in range(9):
            row, column = divmod(tap, 3)
            inside = patches[..., tap] > 0
            expected = wide[..., row : row + 3, column : column + 3].reshape(*symbols.shape, 9)
            np.testing.assert_array_equal(around[..., tap, :][inside], expected[inside])
            assert (wide[..., row + 1, column + 1][~inside] == 0).all(), "outside the map"


def test_only_what_is_new_is_computed() -> None:
    labels, plan = drawn((1, 32, 48)).astype(np.uint8), Plan(layout_spec())
    plan.update(labels, None)
    assert not plan.is_computed
    for level in plan.levels.values():
        level.computed = len(level.patches.windows)
    plan.update(labels.copy(), None)
    assert plan.is_computed
    painted = labels.copy()
    painted[0, 10:15, 20:25] = 4
    plan.update(painted, None)
    inputs = plan.layout_inputs()
    for divisor, level in plan.levels.items():
        fresh = len(level.patches.windows) - level.computed
        assert len(inputs[f"patches_{divisor}"]) == max(fresh, 1) <= (5 // divisor + 5) ** 2
        assert inputs[f"patches_{divisor}"].max(initial=0) <= len(inputs[f"patterns_{divisor}"])
    plan.update(labels, None)
    kept = Plan(layout_spec())
    kept.update(labels, None)
    for divisor, level in plan.levels.items():
        np.testing.assert_array_equal(level.patches.numbers, kept.levels[divisor].patches.numbers)


def test_windows_of_maps_that_are_gone_are_dropped() -> None:
    plan = Plan(layout_spec())
    for seed in range(12):
        labels = drawn((1, 48, 48), seed).astype(np.uint8)
        plan.update(labels, None)
        for level in plan.levels.values():
            used = len(np.unique(level.patches.numbers))
            assert used <= len(level.patches.windows) <= max(2 * used, SPARE)
            assert_exact(level.patches, level.patterns.numbers, 3)
