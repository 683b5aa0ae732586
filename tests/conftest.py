"""What all tests share: few threads, so that parallel workers do not fight, and a tiny bundle."""

import os
import shutil
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
if shutil.which("nvidia-smi") is None:
    # the Triton kernels of the tests run in its interpreter, on NumPy arrays; set before anything imports Triton
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what needs a CUDA device where there is none."""
    if not any("gpu" in item.keywords for item in items):
        return
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def bundle(tmp_path: Path) -> "object":
    """A bundle with a tiny CUT-like generator; nothing is exported yet."""
    from i2i_rt.testing import tiny_bundle

    return tiny_bundle(tmp_path / "bundle")
