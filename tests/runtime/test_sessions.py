"""Sessions and the translator: any size, clear refusals, and life without torch."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.errors import I2IError, MissingDependencyError, UnsupportedError
from i2i_rt.runtime import backends
from i2i_rt.testing import FakeSession
from i2i_rt.translator import Translator

ROOT = Path(__file__).parents[2]


@settings(deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    batch=st.integers(1, 3),
    multiple=st.sampled_from([1, 4, 16, 256]),
)
def test_any_size_comes_back_at_its_size(height: int, width: int, batch: int, multiple: int) -> None:
    session = FakeSession(multiple=multiple)
    frames = np.random.default_rng(height * width).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
    result = Translator(session)(frames)
    assert np.array_equal(result, 255 - frames)
    assert all(side % multiple == 0 and side > 0 for side in session.calls[0][1:3])


def test_padding_is_by_reflection() -> None:
    seen = []
    session = FakeSession(lambda frames: (seen.append(frames), frames)[1], multiple=4)
    Translator(session)(np.arange(6, dtype=np.uint8).reshape(1, 6, 1, 1).repeat(3, 3).repeat(4, 2))
    assert seen[0][0, :, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 3]


def test_one_frame_may_come_without_batch() -> None:
    assert Translator(FakeSession())(np.zeros((5, 7, 3), np.uint8)).shape == (5, 7, 3)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((1, 5, 5, 3), np.float32),
        np.zeros((1, 0, 5, 3), np.uint8),
    ],
    ids=["grey", "alpha", "float", "empty"],
)
def test_other_arrays_are_refused(frames: np.ndarray) -> None:
    with pytest.raises(I2IError, match=r"must be"):
        Translator(FakeSession())(frames)


def test_unknown_stage_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="did you mean 'translate'"):
        FakeSession().run("transalte", {})


def test_unknown_names_get_the_closest_match(bundle: Bundle) -> None:
    with pytest.raises(UnsupportedError, match="did you mean 'onnxruntime'"):
        backends.choose(bundle, "onnxruntim")
    with pytest.raises(UnsupportedError, match="did you mean 'fp32'"):
        backends.choose(bundle, "torch", "fp3")


def test_backend_without_artifact_names_the_export(bundle: Bundle) -> None:
    with pytest.raises(UnsupportedError, match=r"i2i-rt export .* --format openvino --precision fp32"):
        backends.choose(bundle, "openvino")


def test_precision_that_a_backend_lacks_is_refused(bundle: Bundle) -> None:
    with pytest.raises(UnsupportedError, match=r"'openvino' does not compute in fp16; it has fp32, bf16"):
        backends.choose(bundle, "openvino", "fp16")


def test_missing_package_names_the_extra(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'i2i-rt\[cpu\]'"):
        backends.choose(bundle, "openvino")


def test_provider_of_a_gpu_says_why_it_cannot_be_used(bundle: Bundle) -> None:
    if backends.problem(backends.BACKENDS["onnxruntime-cuda"]) is None:
        pytest.skip("this machine has the CUDA provider")
    with pytest.raises(UnsupportedError, match="no CUDAExecutionProvider here"):
        backends.choose(bundle, "onnxruntime-cuda")


def test_without_artifacts_auto_takes_torch_and_says_why(bundle: Bundle) -> None:
    with Translator.load(bundle.path) as translator:
        assert translator.session.backend == "torch"
        assert "i2i-rt export" in translator.description


@pytest.mark.parametrize(
    ("precision", "options"), [("int8", "--precision int8"), ("fp8", "--format tensorrt --precision fp8")]
)
def test_eight_bits_without_an_artifact_name_the_export(bundle: Bundle, precision: str, options: str) -> None:
    with pytest.raises(UnsupportedError, match=f"run 'i2i-rt export .* ?{options} --calibrate FOLDER'"):
        backends.choose(bundle, "auto", precision)


def test_compiled_torch_agrees_with_eager(bundle: Bundle) -> None:
    if backends.problem(backends.BACKENDS["torch-compile"]) is not None:
        pytest.skip("there is no C++ compiler here")
    frames = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    expected = Translator.load(bundle.path, backend="torch")(frames)
    actual = Translator.load(bundle.path, backend="torch-compile")(frames)
    assert np.abs(actual.astype(int) - expected).max() <= 1


def test_translation_works_where_torch_is_not_installed(bundle: Bundle, tmp_path: Path) -> None:
    assert main(["export", str(bundle.path), "--format", "onnx,openvino"]) == 0
    code = f"""
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('torch', 'torchvision', 'onnx', 'skimage', 'sklearn', 'matplotlib'):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Hidden())
import importlib.util
original = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == 'torch' else original(name, *rest)
import numpy as np
from i2i_rt import Translator
for backend in ('auto', 'onnxruntime', 'openvino'):
    with Translator.load({str(bundle.path)!r}, backend=backend) as translator:
        assert translator(np.zeros((33, 47, 3), np.uint8)).shape == (33, 47, 3)
assert 'torch' not in sys.modules
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr


def test_ctrl_c_still_reaches_python_after_openvino(bundle: Bundle) -> None:
    """In a process of its own: what goes wrong here is a segmentation fault."""
    code = f"""
import os, signal
import numpy as np
from i2i_rt import Translator
from i2i_rt.cli import main
assert main(["export", {str(bundle.path)!r}, "--format", "openvino"]) == 0
with Translator.load({str(bundle.path)!r}, backend="openvino") as translator:
    translator(np.zeros((33, 47, 3), np.uint8))
del translator
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert result.stdout.splitlines()[-1:] == ["interrupted"], (result.returncode, result.stderr)
