"""Engines on TensorRT itself: built, run and verified wherever a GPU and the library are. Elsewhere all is skipped."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from i2i_rt.bundle import Bundle, Provenance
from i2i_rt.cli import main
from i2i_rt.export import build, tensorrt
from i2i_rt.export import onnx as onnx_export
from i2i_rt.export.formats import FORMATS
from i2i_rt.export.profiles import EngineOptions, parse
from i2i_rt.export.trial import Trial
from i2i_rt.export.verify import sample_photographs
from i2i_rt.importers.table import write_bundle
from i2i_rt.runtime import tensorrt_library
from i2i_rt.runtime.artifact_key import ArtifactKey
from i2i_rt.runtime.backends import BACKENDS, Choice, open_session
from i2i_rt.runtime.tensorrt import Engine, TensorRTSession, new_stream
from i2i_rt.stages.base import Stage
from i2i_rt.testing import tiny_bundle
from i2i_rt.translator import Translator
from tests.capabilities import Model, models, small_configurations
from tests.export.test_tensorrt_fusion import Blocks

HERE = importlib.util.find_spec("tensorrt") is not None and tensorrt_library.problem(None) is None
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not HERE, reason="needs TensorRT, CuPy and a GPU")]

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 132, 200, 3), dtype=np.uint8)
FAST = ("--optimisation-level", "1", "--profile", "64x64..256x256..320x320", "--batch", "1..2")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_export_builds_and_verifies(precision: str, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", width=32)
    # the exit code is the gate's
    assert main(["export", str(bundle.path), "--format", "tensorrt", "--precision", precision, *FAST]) == 0
    record = next(entry for entry in bundle.verification() if entry["stage"] == "translate")
    assert record["passed"] and record["non_finite"] == 0


@pytest.mark.parametrize("model", models().values(), ids=lambda model: model.name)
def test_every_stage_of_every_system_builds_and_runs(model: Model, tmp_path: Path) -> None:
    made = small_configurations()[model.name]()
    bundle = write_bundle(made, model.system, tmp_path / "bundle", Provenance("drawn with seed 0", sha256=""))
    # twice as large as its frames: the structure codes of the small Swapping Autoencoder are a quarter, not a sixteenth
    engine = EngineOptions(parse("64x64..128x128..512x512", "1..2"), level=0)
    build.build(bundle, [(FORMATS["tensorrt"], "fp16")], engine=engine)
    with (
        open_session(bundle, Choice(BACKENDS["torch"], "fp32", "")) as reference,
        open_session(bundle, Choice(BACKENDS["tensorrt"], "fp16", "")) as session,
    ):
        for stage in bundle.stages:
            inputs = Trial(bundle, reference, sample_photographs()).inputs(stage, (128, 128), 1)
            expected, actual = reference.run(stage, inputs), session.run(stage, inputs)
            for name, array in expected.items():
                assert actual[name].shape == array.shape and np.isfinite(actual[name].astype(float)).all()
                scale = max(float(np.abs(array.astype(float)).max()), 1e-6)
                error = np.abs(actual[name].astype(float) - array).mean() / scale
                assert error < 0.02, (stage, name, error)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_plugins_give_what_the_layers_give(precision: str, tmp_path: Path) -> None:
    stage = Stage(Blocks.spec(32), Blocks(32).eval())
    graph = tmp_path / "blocks.onnx"
    onnx_export.build(stage, graph, precision=precision, metadata={})
    profiles = parse("16x16..64x64..96x96", "1..2")
    random = np.random.default_rng(0)
    inputs = {
        "image": random.standard_normal((2, 32, 52, 36), dtype=np.float32),
        "style": random.standard_normal((2, 64), dtype=np.float32),
    }
    with torch.inference_mode():
        exact = stage.module(*map(torch.from_numpy, inputs.values())).numpy()
    results: dict[bool, Any] = {}
    for plugins in (False, True):
        file = tmp_path / f"{plugins}" / "blocks.engine"
        file.parent.mkdir()
        options = EngineOptions(profiles, level=1, plugins=plugins)
        tensorrt.build(graph, file, spec=stage.spec, precision=precision, weights="", options=options)
        results[plugins] = Engine(file.read_bytes(), file.name, stage.spec, new_stream()).run(inputs)["result"]
    bound = {"fp32": 1e-4, "fp16": 5e-3, "bf16": 4e-2}[precision]
    for result in results.values():
        assert np.linalg.norm(result - exact) <= bound * np.linalg.norm(exact)


def test_session_repeats_itself_and_stays_on_the_gpu(tmp_path: Path) -> None:
    import cupy

    bundle = tiny_bundle(tmp_path / "bundle", width=32)
    options = ["--format", "tensorrt", "--precision", "fp16", "--no-verify", *FAST]
    assert main(["export", str(bundle.path), *options]) == 0
    with Translator.load(bundle.path, backend="tensorrt", precision="fp16") as translator:
        first = translator(FRAMES)
        assert np.array_equal(translator(FRAMES), first)  # by the captured graph
        translator(FRAMES[:1, :64, :64])
        assert np.array_equal(translator(FRAMES), first)  # after another shape
        session = translator.session
        assert isinstance(session, TensorRTSession)
        on_device = session.run_on_device("translate", {"frames": cupy.asarray(FRAMES)})["translated"]
        session.stream.synchronize()
        assert np.array_equal(cupy.asnumpy(on_device), first)


def test_engine_with_plugins_runs_in_a_process_without_them(tmp_path: Path) -> None:
    """As Triton Inference Server would run it: nothing but the library reads the engine."""
    stage = Stage(Blocks.spec(32), Blocks(32).eval())
    graph, file = tmp_path / "blocks.onnx", tmp_path / "blocks.engine"
    onnx_export.build(stage, graph, precision="fp16", metadata={})
    options = EngineOptions(parse("64x64", "1"), level=1, plugins=True)
    tensorrt.build(graph, file, spec=stage.spec, precision="fp16", weights="", options=options)
    code = (
        "import sys, tensorrt as trt\n"
        "log = trt.Logger(trt.Logger.ERROR)\n"
        "engine = trt.Runtime(log).deserialize_cuda_engine(open(sys.argv[1], 'rb').read())\n"
        "assert engine.create_execution_context() is not None\n"
        "assert 'triton' not in sys.modules and 'i2i_rt' not in sys.modules\n"
    )
    answer = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_key_is_this_machines(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    assert main(["export", str(bundle.path), "--format", "tensorrt", "--no-verify", *FAST]) == 0
    key = ArtifactKey.read(Bundle.open(bundle.path).path / "artifacts/tensorrt/translate.fp32.engine")
    assert key is not None
    assert key.device == torch.cuda.get_device_name()
    assert key.capability == "{}.{}".format(*torch.cuda.get_device_capability())
