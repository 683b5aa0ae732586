"""Stand-ins for a GPU, CuPy and TensorRT: what builds, keeps and runs engines is tested without any of them.

"Device memory" is NumPy's, and an "engine" is the ONNX graph with its profiles, computed by ONNX Runtime. The classes
have the names of the real libraries and nothing more; `tests/export/test_tensorrt_api.py` and
`tests/runtime/test_stand_ins.py` compare them. They refuse what the real ones refuse: shapes outside a profile,
addresses that were not set, memory that is too small.
"""

import importlib.machinery
import importlib.metadata
import sys
from types import ModuleType

import pytest

from tests.gpu_stand_ins import cuda, engines


def install(
    monkeypatch: pytest.MonkeyPatch,
    *,
    version: str = "11.4.0.106",
    gpu: str = "NVIDIA L4",
    capability: str = "8.9",
) -> None:
    """Puts the stand-ins in place of the libraries, as a machine with this GPU and TensorRT would have them."""
    cuda.DEVICE.name, cuda.DEVICE.capability = gpu, capability
    engines.__version__ = version
    for name, module in (("tensorrt", engines), ("cupy", cuda.cupy), ("cupyx", cuda.cupyx)):
        _put(monkeypatch, name, module)
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda package: version if package == "tensorrt" else real(package)
    )


def _put(monkeypatch: pytest.MonkeyPatch, name: str, module: ModuleType) -> None:
    monkeypatch.setattr(module, "__spec__", importlib.machinery.ModuleSpec(name, None))
    monkeypatch.setitem(sys.modules, name, module)
