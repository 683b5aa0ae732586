"""Fused operators in ONNX: one file that ONNX Runtime runs with bodies or kernels, and OpenVINO as an inlined copy."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from i2i_rt.export import fused_nodes
from i2i_rt.export import onnx as export_onnx
from i2i_rt.export import openvino as export_openvino
from i2i_rt.kernels import spade_table_apply
from i2i_rt.spec import Axis, StageSpec, TensorSpec
from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import load_stages
from i2i_rt.testing import tiny_bundle


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return load_stages(tiny_bundle(tmp_path_factory.mktemp("fused") / "bundle"))["translate"]


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def graph(request: pytest.FixtureRequest, stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("graph") / f"translate.{request.param}.onnx"
    export_onnx.build(stage, file, precision=request.param, metadata={})
    return file


def frames_of(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def difference(stage: Stage, frames: np.ndarray, actual: np.ndarray) -> int:
    with torch.inference_mode():
        expected = stage.module(torch.from_numpy(frames)).numpy()
    return int(np.abs(actual.astype(int) - expected).max())


def test_graph_has_a_node_an_operator_and_a_body_a_node(graph: Path) -> None:
    model = onnx.load(graph)
    onnx.checker.check_model(model, full_check=True)
    used = [node.op_type for node in model.graph.node if node.domain == "i2i_rt"]
    assert used[0] == "FrameIn" and used[-1] == "FrameOut"
    assert {function.name for function in model.functions} == set(used)
    assert {entry.domain for entry in model.opset_import} == {"", "i2i_rt"}


@pytest.mark.parametrize("level", ["ORT_DISABLE_ALL", "ORT_ENABLE_ALL"])
def test_onnxruntime_runs_the_bodies_with_and_without_optimisation(stage: Stage, graph: Path, level: str) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    for shape in ((1, 32, 48, 3), (3, 64, 16, 3)):
        frames = frames_of(shape)
        assert difference(stage, frames, session.run(None, {"frames": frames})[0]) <= (3 if "fp16" in graph.name else 1)


def test_a_registered_kernel_is_preferred_to_the_body(stage: Stage, tmp_path: Path) -> None:
    import onnxruntime
    from onnxruntime_extensions import PyCustomOpDef, get_library_path, onnx_op

    graph = tmp_path / "translate.onnx"
    export_onnx.build(stage, graph, precision="fp32", metadata={})
    calls = []

    @onnx_op(op_type="i2i_rt::FrameOut", inputs=[PyCustomOpDef.dt_float], outputs=[PyCustomOpDef.dt_uint8])  # type: ignore[untyped-decorator]
    def grey(image: np.ndarray) -> np.ndarray:
        calls.append(image.shape)
        return np.full((image.shape[0], *image.shape[2:], 3), 127, np.uint8)

    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(get_library_path())
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    assert (session.run(None, {"frames": frames_of((1, 32, 32, 3))})[0] == 127).all() and calls == [(1, 3, 32, 32)]


def test_openvino_gets_a_copy_without_functions(stage: Stage, graph: Path, tmp_path: Path) -> None:
    from i2i_rt.runtime.openvino import core

    copy = fused_nodes.inlined(graph)
    assert not copy.functions and not any(node.domain for node in copy.graph.node)
    export_openvino.build(graph, tmp_path / "translate.xml", metadata={})
    compiled = core().compile_model(tmp_path / "translate.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    frames = frames_of((2, 32, 48, 3))
    assert difference(stage, frames, compiled(frames)[0]) <= (3 if "fp16" in graph.name else 1)


def test_nodes_may_say_which_plugin_they_are(graph: Path, tmp_path: Path) -> None:
    model = onnx.load(graph)
    for node in model.graph.node:
        if node.domain == "i2i_rt":
            node.attribute.append(onnx.helper.make_attribute("plugin_namespace", "i2i_rt"))
            node.attribute.append(onnx.helper.make_attribute("plugin_version", "1"))
    onnx.checker.check_model(model, full_check=True)
    import onnxruntime

    onnx.save(model, tmp_path / "named.onnx")
    onnxruntime.InferenceSession(tmp_path / "named.onnx", providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("slope", "name"), [(1.0, "SpadeTable"), (0.2, "SpadeTableAct")])
def test_rows_of_a_table_are_looked_up_in_one_node(slope: float, name: str, tmp_path: Path) -> None:
    import onnxruntime

    class Scaled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = torch.nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x: torch.Tensor, index: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
            return spade_table_apply(self.convolution(x), index, table, slope)

    batch, height, width, module = Axis("N"), Axis("H", low=4), Axis("W", low=4), Scaled().eval()
    spec = StageSpec(
        "scaled",
        (
            TensorSpec("x", "float32", (batch, Axis("C", size=3), height, width)),
            TensorSpec("index", "int32", (batch, height, width)),
            TensorSpec("table", "float32", (Axis("U"), Axis("rows", size=8))),
        ),
        (TensorSpec("y", "float32", (batch, Axis("C", size=4), height, width)),),
    )
    file = tmp_path / "scaled.onnx"
    export_onnx.build(Stage(spec, module), file, precision="fp32", metadata={})
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Conv", name]
    x, index, table = torch.randn(2, 3, 5, 7), torch.randint(0, 9, (2, 5, 7), dtype=torch.int32), torch.randn(9, 8)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    actual = session.run(None, {"x": x.numpy(), "index": index.numpy(), "table": table.numpy()})[0]
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(actual), module(x, index, table), rtol=1e-5, atol=1e-5)
