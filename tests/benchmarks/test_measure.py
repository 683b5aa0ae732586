"""Times: what counts, what does not, and what is made of it."""

import subprocess
import sys
import time

import numpy as np
import pytest

from i2i_rt.benchmarks.measure import FULL, QUICK, Timing, current_memory_mib, peak_memory_mib, repeat


def test_every_sample_counts_outliers_too() -> None:
    rounds = [[0.010] * 50, [0.010] * 49 + [1.0]]
    timing = Timing.of(rounds)
    assert timing.runs == 100
    assert timing.p50_ms == pytest.approx(10)
    assert timing.max_ms == pytest.approx(1000)
    assert timing.mean_ms == pytest.approx(19.9)


def test_percentiles_are_those_of_all_rounds_together() -> None:
    samples = np.random.default_rng(0).exponential(size=(4, 25))
    timing = Timing.of(samples.tolist())
    flat = samples.ravel() * 1000
    assert (timing.p50_ms, timing.p90_ms, timing.p99_ms) == pytest.approx(np.percentile(flat, (50, 90, 99)))


def test_spread_tells_a_busy_machine() -> None:
    assert Timing.of([[0.01, 0.01], [0.01, 0.01]]).spread == 1
    assert Timing.of([[0.01, 0.01], [0.03, 0.03]]).spread == pytest.approx(3)


@pytest.mark.parametrize(
    ("runs", "seconds"), [pytest.param(5, 0.0, id="runs-decide"), pytest.param(1, 0.03, id="seconds-decide")]
)
def test_repeat_reaches_both_runs_and_seconds(runs: int, seconds: float) -> None:
    samples = repeat(lambda: time.sleep(0.002), runs=runs, seconds=seconds)
    assert len(samples) >= runs and sum(samples) >= seconds
    assert len(samples) == runs or sum(samples[:-1]) < seconds


def test_full_rule_is_at_least_what_was_promised() -> None:
    assert FULL.warmup_runs >= 10 and FULL.warmup_s >= 0.2
    assert FULL.rounds * FULL.runs_per_round >= 50 and FULL.rounds * FULL.seconds_per_round >= 3
    assert str(QUICK).startswith("quick") and "6 runs" in str(QUICK)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_of_a_child_is_its_own() -> None:
    ballast = np.ones(2**25)  # 256 MiB in this process
    code = "from i2i_rt.benchmarks.measure import peak_memory_mib; print(peak_memory_mib())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    own, child = peak_memory_mib(), float(result.stdout)
    assert own is not None and own > ballast.nbytes / 2**20 > child > 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_current_memory_follows_what_is_held() -> None:
    before = current_memory_mib()
    ballast = np.ones(2**24)
    held = current_memory_mib()
    assert before is not None and held is not None and held - before > 0.9 * ballast.nbytes / 2**20
