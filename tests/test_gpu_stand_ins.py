"""The stand-ins for CuPy have nothing that it lacks; those for TensorRT are compared in export/test_tensorrt_api.py."""

import importlib

import pytest

from tests.gpu_stand_ins import cuda


@pytest.mark.parametrize("module", ["cupy", "cupyx"])
def test_functions_exist(module: str) -> None:
    real = pytest.importorskip(module)
    public = {name for name in vars(getattr(cuda, module)) if not name.startswith("_")}
    assert public and public <= set(dir(real))


@pytest.mark.parametrize("path", ["ndarray", "cuda.Stream", "cuda.Graph", "cuda.runtime"])
def test_members_exist(path: str) -> None:
    pytest.importorskip("cupy")
    real, stand_in = importlib.import_module("cupy"), cuda.cupy
    for name in path.split("."):
        real, stand_in = getattr(real, name), getattr(stand_in, name)
    own = {"submit", "capturable"}  # of the stand-in
    public = {name for name in vars(stand_in) if not name.startswith("_")} - own
    assert public and public <= set(dir(real))
