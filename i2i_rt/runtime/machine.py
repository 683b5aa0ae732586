"""What this machine is: the stamp under every figure."""

import functools
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path


def _cpuinfo() -> list[str]:
    info = Path("/proc/cpuinfo")
    return info.read_text().splitlines() if info.is_file() else []


@functools.cache
def cpu_name() -> str:
    """Gives the processor's name, such as "AMD EPYC 9B45"."""
    for line in _cpuinfo():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@functools.cache
def cpu_features() -> tuple[str, ...]:
    """Names the features of the processor that decide how fast a network runs."""
    flags = next((line.split() for line in _cpuinfo() if line.startswith("flags")), [])
    return tuple(flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile") if flag in flags)


def cpu_count() -> int:
    """Gives the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_clocks_mhz() -> dict[str, float]:
    """Gives the first processor's lowest, highest and current clock in MHz, as far as the system says."""
    folder = Path("/sys/devices/system/cpu/cpu0/cpufreq")
    files = {"min": "cpuinfo_min_freq", "max": "cpuinfo_max_freq", "current": "scaling_cur_freq"}
    clocks = {
        name: int((folder / file).read_text()) / 1000 for name, file in files.items() if (folder / file).is_file()
    }
    if "current" not in clocks:
        for line in _cpuinfo():
            if line.startswith("cpu MHz"):
                return {**clocks, "current": float(line.partition(":")[2])}
    return clocks


def memory_gib() -> float | None:
    """Gives the memory of the machine in GiB; None where the system does not say."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


@functools.cache
def gpu_name() -> str | None:
    """Gives the first NVIDIA GPU's name; None where there is none."""
    answer = _nvidia_smi("name")
    return answer[0] if answer else None


def gpu_state() -> dict[str, str] | None:
    """Gives the first NVIDIA GPU's name, driver, memory and clocks in the driver's words; None where there is none."""
    names = ("name", "driver_version", "memory.total", "clocks.sm", "clocks.max.sm", "persistence_mode")
    answer = _nvidia_smi(*names)
    return dict(zip(names, answer, strict=True)) if answer else None


def gpu_memory_mib() -> float | None:
    """Gives the memory in use on the first NVIDIA GPU, by all processes; None where there is none."""
    answer = _nvidia_smi("memory.used")
    return float(answer[0].split()[0]) if answer else None


def _nvidia_smi(*names: str) -> list[str] | None:
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (subprocess.SubprocessError, OSError):
        return None
    lines = answer.stdout.strip().splitlines()
    return [value.strip() for value in lines[0].split(",")] if lines else None


def machine_name() -> str:
    """Gives the name under which timings are kept: they count only on the machine that they were taken on."""
    gpu = gpu_name()
    return f"{cpu_name()}, {cpu_count()} CPUs, {' '.join(cpu_features())}" + (f", {gpu}" if gpu else "")


def cpus_in_use(seconds: float = 0.5) -> float | None:
    """Gives how many processors other work keeps busy just now; None where the system does not say.

    The load average would still count what this process's own command did a minute ago.
    """
    file = Path("/proc/stat")
    if not file.is_file():
        return None

    def ticks() -> tuple[int, int]:
        counts = [int(word) for word in file.read_text().splitlines()[0].split()[1:9]]
        return sum(counts), counts[3] + counts[4]  # all; idle and waiting for a disk

    total, idle = ticks()
    time.sleep(seconds)
    total_after, idle_after = ticks()
    busy = 1 - (idle_after - idle) / max(total_after - total, 1)
    return round(busy * (os.cpu_count() or 1), 2)
