"""Sessions of TensorRT on stand-ins: buffers, profiles, captured graphs, and arrays that stay on the GPU."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from i2i_rt.errors import BundleError, I2IError, UnsupportedError
from i2i_rt.runtime import tensorrt, tensorrt_builder
from i2i_rt.runtime.tensorrt import KEPT_SHAPES, Engine
from i2i_rt.spec import Axis, StageSpec, TensorSpec
from tests import gpu_stand_ins
from tests.gpu_stand_ins import cuda, engines

AXES = (Axis("N"), Axis("H"))
SPEC = StageSpec("double", (TensorSpec("x", "float32", AXES),), (TensorSpec("y", "float32", AXES),))
OPTIONS = {"optimisation level": "3", "workspace": "all memory", "plugins": "none"}
SMALL, LARGE = [[1, 1], [1, 4], [2, 64]], [[1, 8], [1, 8], [1, 8]]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gpu_stand_ins.install(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    """An engine that doubles, with a profile for a range and one for a single shape."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", "H"]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "double", ends[:1], ends[1:])
    file = tmp_path / "double.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file)
    shapes = [{"x": SMALL}, {"x": LARGE}]
    key = tensorrt_builder.key_here(stage="double", precision="fp16", weights="", shapes=shapes, options=OPTIONS)
    return tensorrt_builder.build(file, key)


@pytest.fixture
def engine(content: bytes) -> Engine:
    return Engine(content, "double.engine", SPEC, tensorrt.new_stream())


def x(*shape: int, start: int = 0) -> np.ndarray:
    return (np.arange(np.prod(shape), dtype=np.float32) + start).reshape(shape)


def test_outputs_belong_to_the_caller(engine: Engine) -> None:
    first = engine.run({"x": x(1, 4)})["y"]
    second = engine.run({"x": x(1, 4, start=9)})["y"]
    assert np.array_equal(first, 2 * x(1, 4)) and np.array_equal(second, 2 * x(1, 4, start=9))


def test_inputs_may_lie_anyhow_in_memory(engine: Engine) -> None:
    assert np.array_equal(engine.run({"x": x(8, 2).T[:, ::2]})["y"], 2 * x(8, 2).T[:, ::2])


def test_shape_is_prepared_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = engines.ICudaEngine.create_execution_context
    monkeypatch.setattr(engines.ICudaEngine, "create_execution_context", lambda *a: (made.append(1), original(*a))[1])
    for shape in ((1, 4), (2, 6), (1, 4), (2, 6)):
        assert np.array_equal(engine.run({"x": x(*shape)})["y"], 2 * x(*shape))
    assert len(made) == 2


def test_runs_are_launches_of_a_captured_graph(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    launched = []
    original = cuda.Graph.launch
    monkeypatch.setattr(cuda.Graph, "launch", lambda graph, stream: (launched.append(stream), original(graph))[1])
    for start in range(3):  # the first one sets things up
        assert np.array_equal(engine.run({"x": x(1, 4, start=start)})["y"], 2 * x(1, 4, start=start))
    assert len(launched) == 2


def test_engine_that_cannot_be_captured_runs_all_the_same(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda.Stream, "capturable", False)
    for start in range(3):
        assert np.array_equal(engine.run({"x": x(1, 4, start=start)})["y"], 2 * x(1, 4, start=start))


def test_few_shapes_are_kept(engine: Engine) -> None:
    for width in range(1, KEPT_SHAPES + 4):
        engine.run({"x": x(1, width)})
    assert len(engine._prepared) == KEPT_SHAPES
    assert np.array_equal(engine.run({"x": x(1, 1)})["y"], 2 * x(1, 1))


def test_memory_of_an_older_shape_lives_on(engine: Engine) -> None:
    """Its graph was captured with that memory, and a larger shape needs more."""
    engine.run({"x": x(1, 2)})
    (small,) = engine._prepared.values()
    engine.run({"x": x(2, 60)})
    assert small._memory.nbytes < engine._scratch._block.nbytes
    assert np.array_equal(engine.run({"x": x(1, 2)})["y"], 2 * x(1, 2))


def test_narrowest_profile_is_taken(engine: Engine) -> None:
    assert [engine._profile_of({"x": shape}) for shape in ((1, 8), (2, 8), (1, 9))] == [1, 0, 0]


def test_shape_outside_all_profiles_is_refused(engine: Engine) -> None:
    assert engine.takes({"x": (2, 64)}) and not engine.takes({"x": (3, 8)})
    with pytest.raises(UnsupportedError, match="takes x 1x1 to 2x64, x 1x8, not x 3x8"):
        engine.run({"x": x(3, 8)})


def test_arrays_stay_on_the_gpu(engine: Engine) -> None:
    result = engine.run_on_device({"x": cuda.asarray(x(1, 4))})["y"]
    assert isinstance(result, cuda.ndarray) and np.array_equal(result.values, 2 * x(1, 4))
    again = engine.run_on_device({"x": cuda.asarray(x(1, 4, start=5))})["y"]
    assert again is result  # the session's own buffer, as it says


def test_run_that_cannot_be_started_is_one_sentence(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(context: engines.IExecutionContext, stream_handle: int) -> bool:
        engine._messages.log(engines.ILogger.ERROR, "no memory is left")
        return False

    monkeypatch.setattr(engines.IExecutionContext, "execute_async_v3", refuse)
    with pytest.raises(I2IError, match=r"could not start a run of double.engine: no memory is left"):
        engine.run({"x": x(1, 4)})


@pytest.mark.parametrize("damage", [b"", b"not an engine", b'{"version": "10.0", "profiles": []}\n'])
def test_engine_that_does_not_load_is_one_sentence(damage: bytes) -> None:
    with pytest.raises(BundleError, match=r"double.engine does not load in TensorRT 11.4.0.106: \w+"):
        Engine(damage, "double.engine", SPEC, tensorrt.new_stream())
