"""The stamp under every report: processor, clocks, load, versions, commit, weights, date."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import i2i_rt
from i2i_rt.bundle import Bundle
from i2i_rt.runtime import machine

PACKAGES = ("torch", "onnxruntime", "onnxruntime-gpu", "openvino", "numpy", "opencv-python-headless", "av")


def environment(*, bundle: Bundle | None = None, threads: int | None = None) -> dict[str, Any]:
    """Gives what somebody else must know to believe a figure. Call it before measuring: it reads the load."""
    stamp: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": machine.cpu_name(),
        "cpu_features": list(machine.cpu_features()),
        "cpus": machine.cpu_count(),
        "threads": "the backend's own choice" if threads is None else threads,
        "clocks_mhz": machine.cpu_clocks_mhz(),
        "memory_gib": machine.memory_gib(),
        "cpus_in_use": machine.cpus_in_use(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "gpu": machine.gpu_state() or "none",
        "system": f"{platform.system()} {platform.release()}",
        "versions": versions(),
        "commit": commit(),
    }
    if bundle is not None:
        stamp["bundle"] = {"system": bundle.system, "weights_sha256": bundle.weights_sha256()}
    return stamp


def versions() -> dict[str, str]:
    """Gives the versions of what computes, read without importing any of it."""
    found = {"python": platform.python_version(), "i2i-rt": i2i_rt.__version__}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Gives the commit of the checkout that runs, with "+dirty" where files differ; None outside a checkout."""
    root = Path(i2i_rt.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        hash_, changes = (
            subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True)
            for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (subprocess.SubprocessError, OSError):
        return None
    return hash_.stdout.strip() + ("+dirty" if changes.stdout.strip() else "")
