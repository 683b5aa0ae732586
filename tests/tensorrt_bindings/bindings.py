"""Gets a version of the bindings and loads it with empty stand-ins for its libraries; one version a process."""

import contextlib
import ctypes
import importlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

VERSIONS = ("10.16.1.11", "11.4.0.106")
PACKAGE = "tensorrt_cu13_bindings"


def bindings_of(version: str, request: pytest.FixtureRequest) -> Path:
    """Gives the unpacked bindings of a version to a test, downloaded once; skips it where that cannot be done."""
    if not (shutil.which("gcc") and shutil.which("readelf")):
        pytest.skip("needs gcc and readelf, to stand in for TensorRT's libraries")
    folder: Path = request.config.cache.mkdir("tensorrt-bindings")  # type: ignore[union-attr]
    try:
        return download(version, folder)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip(f"the bindings of TensorRT {version} cannot be downloaded for this Python here")


def download(version: str, folder: Path) -> Path:
    """Gets a wheel with pip and unpacks it below a folder, once; nothing is installed.

    Raises:
        subprocess.CalledProcessError: where the package index cannot be reached, or has no wheel for this Python.
    """
    unpacked = folder / f"{version}-py{sys.version_info.minor}"
    if not unpacked.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch]
            subprocess.run([*command, f"{PACKAGE}=={version}"], check=True, capture_output=True, timeout=120)
            (wheel,) = Path(scratch).glob("*.whl")
            content = Path(scratch) / "content"
            zipfile.ZipFile(wheel).extractall(content)
            with contextlib.suppress(OSError):  # another process was faster
                content.rename(unpacked)
    return unpacked


def load(unpacked: Path) -> ModuleType:
    """Imports the bindings as `tensorrt`, with `tensorrt.plugin`."""
    extension = unpacked / "tensorrt_bindings" / "tensorrt.so"
    with tempfile.TemporaryDirectory() as scratch:
        for library in _stand_ins(extension, Path(scratch)):
            # its name is taken now, so the loader of the extension looks no further
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    sys.path.insert(0, str(unpacked))
    tensorrt = importlib.import_module("tensorrt_bindings")
    sys.modules["tensorrt"] = tensorrt
    plugin = importlib.import_module("tensorrt_bindings.plugin")
    sys.modules["tensorrt.plugin"] = plugin
    tensorrt.plugin = plugin  # type: ignore[attr-defined]
    return tensorrt


def _stand_ins(extension: Path, folder: Path) -> list[Path]:
    """Compiles a library for each that the extension needs; the first has all entry points, which give null."""
    needed = [name for name in _read(extension, "-d", r"\(NEEDED\).*\[(.+?)\]") if name.startswith("libnv")]
    # a symbol with a version (@) belongs to the C library and its kin
    undefined = _read(extension, "--dyn-syms", r" GLOBAL +\w+ +UND +([A-Za-z_]\w*) *$")
    process = ctypes.CDLL(None)
    missing = sorted({name for name in undefined if not hasattr(process, name)})
    made = []
    for name in needed:
        source = folder / "library.c"
        source.write_text("\n".join(f"void *{entry}(void) {{ return 0; }}" for entry in missing) + "\n")
        missing = []
        made.append(folder / name)
        subprocess.run(["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", made[-1], source], check=True)
    return made


def _read(extension: Path, option: str, pattern: str) -> list[str]:
    output = subprocess.run(["readelf", option, "-W", extension], check=True, capture_output=True, text=True).stdout
    return re.findall(pattern, output, re.MULTILINE)
