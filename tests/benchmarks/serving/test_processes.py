"""What processes use, read from outside."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("psutil", reason="needs psutil")

from i2i_rt.benchmarks.serving.processes import Processes, difference

BUSY = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\nprint(flush=True)\ninput()"


def test_time_and_memory_of_a_process_and_its_children_are_counted() -> None:
    processes = Processes(os.getpid())
    before = processes.cpu_s()
    command = [sys.executable, "-c", BUSY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        used, memory = difference(processes.cpu_s(), before), processes.memory_mib()
        child.communicate(b"\n")
    assert used["gateway"] >= 0.15 and memory["gateway"] > 0


def test_a_part_that_appeared_counts_from_nothing() -> None:
    assert difference({"gateway": 3.0, "stubs": 1.0}, {"gateway": 2.5}) == {"gateway": 0.5, "stubs": 1.0}
