"""What all tests share: few threads, so that parallel workers do not fight, and a tiny bundle."""

import importlib.metadata
import os
import shutil
import signal
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

os.environ.setdefault("OMP_NUM_THREADS", "1")
# libraries fork processes in threads; gRPC's preparations for a fork wait for Python, which waits for the fork
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# a shell starts what runs in the background with Ctrl-C ignored, and so would be every process of these tests
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if shutil.which("nvidia-smi") is None:
    # the Triton kernels of the tests run in its interpreter, on NumPy arrays; set before anything imports Triton
    os.environ.setdefault("TRITON_INTERPRET", "1")


# each of its tests exports a network for itself
SHARED_OUT = "tests/test_capabilities.py"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "LoadScopeScheduling | None":
    """Keeps a file's tests in one worker, which makes what they share once; those of servers all in one.

    Marks cannot say this: with pytest 9.2, xdist 3.8 overlooks its own `xdist_group`.
    """
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            if file == SHARED_OUT:
                return nodeid
            return "tests/serving" if file.startswith("tests/serving/") else file

    return ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips what needs a CUDA device where there is none; leaves out the long form unless it is asked for."""
    if "soak" not in config.getoption("markexpr"):
        long = [item for item in items if "soak" in item.keywords]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
    if not any("gpu" in item.keywords for item in items):
        return
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Skips what Triton 3.6's interpreter cannot run on NumPy 2.4 and later: loops whose bounds are arguments."""
    try:
        return (yield)
    except Exception as error:
        if "only 0-dimensional arrays can be converted" in str(error) and importlib.metadata.version(
            "triton"
        ).startswith("3.6."):
            pytest.skip("Triton 3.6's interpreter does not fit this NumPy; it needs one older than 2.4")
        raise


@pytest.fixture
def bundle(tmp_path: Path) -> "object":
    """A bundle with a tiny CUT-like generator; nothing is exported yet."""
    from i2i_rt.testing import tiny_bundle

    return tiny_bundle(tmp_path / "bundle")
