"""What this machine is: the stamp under every figure."""

import functools
import os
import platform
import shutil
import subprocess
from pathlib import Path


@functools.cache
def cpu_name() -> str:
    """Gives the processor's name, such as "AMD EPYC 9B45"."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@functools.cache
def cpu_features() -> tuple[str, ...]:
    """Names the features of the processor that decide how fast a network runs."""
    info = Path("/proc/cpuinfo")
    flags = next(
        (
            line.split()
            for line in (info.read_text().splitlines() if info.is_file() else ())
            if line.startswith("flags")
        ),
        [],
    )
    return tuple(flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile") if flag in flags)


def cpu_count() -> int:
    """Gives the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def gpu_name() -> str | None:
    """Gives the first NVIDIA GPU's name; None where there is none."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (subprocess.SubprocessError, OSError):
        return None
    return answer.stdout.strip().splitlines()[0] if answer.stdout.strip() else None


def machine_name() -> str:
    """Gives the name under which timings are kept: they count only on the machine that they were taken on."""
    gpu = gpu_name()
    return f"{cpu_name()}, {cpu_count()} CPUs, {' '.join(cpu_features())}" + (f", {gpu}" if gpu else "")
