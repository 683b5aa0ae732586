"""NVIDIA's load generator as a cross-check of ours: where it is on PATH and runs.

It is in the wheels of tritonclient 2.34 to 2.60: `pip download --no-deps tritonclient==2.50.0`, unpacked, has it in
`tritonclient-2.50.0.data/data/bin/`.
"""

import csv
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from i2i_rt.errors import UnsupportedError
from i2i_rt.serving.installation import Installation, find_server

PROGRAM = "perf_analyzer"
# what it links to, which Debian does not bring -> the copy in nvidia-pytriton, which has a hash in its name
LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Finding:
    """What it measured in a closed loop with one request in flight."""

    p50_ms: float
    p99_ms: float
    per_s: float


def check(address: str, model: str, tensor: str, shape: tuple[int, ...], requests: int) -> Finding:
    """Asks a model over gRPC, one request after the other.

    Args:
        address: host and port.
        model: whose first axis is a batch.
        tensor: its input.
        shape: of one of the batch.
        requests: so many.

    Raises:
        UnsupportedError: where it is not on PATH, or does not run here; the sentence has its own reason.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise UnsupportedError(f"{PROGRAM} is not on PATH; the wheel of tritonclient 2.50.0 has it")
    with tempfile.TemporaryDirectory() as name:
        table, folder = Path(name) / "table.csv", Path(name)
        _link_libraries(find_server(), folder)
        lengths = ",".join(map(str, shape))
        command = [
            *(program, "-m", model, "-i", "grpc", "-u", address, "-b", "1", "--shape", f"{tensor}:{lengths}"),
            *("--concurrency-range", "1", "--request-count", str(requests), "-f", str(table)),
        ]
        environment = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join([name, os.environ.get("LD_LIBRARY_PATH", "")])}
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UnsupportedError(f"{PROGRAM} does not run here: {error}") from error
        if not table.is_file():
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise UnsupportedError(f"{PROGRAM} failed: {lines[-1] if lines else f'exit code {done.returncode}'}")
        (row,) = csv.DictReader(table.read_text().splitlines())
    return Finding(float(row["p50 latency"]) / 1000, float(row["p99 latency"]) / 1000, float(row["Inferences/Second"]))


def _link_libraries(installation: Installation, folder: Path) -> None:
    """Puts the server's own copies of what the program needs into a folder, under the names that it looks for."""
    for place in re.split("[:;]", installation.environment.get("LD_LIBRARY_PATH", "")):
        for wanted, pattern in LIBRARIES.items():
            for file in sorted(Path(place).glob(pattern)) if place else ():
                if not (folder / wanted).exists():
                    (folder / wanted).symlink_to(file)
