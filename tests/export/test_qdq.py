"""Q/DQ in ONNX graphs, and the search for the layers that stay higher."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import pytest
from onnx import TensorProto

from i2i_rt.export import onnx as onnx_export
from i2i_rt.export import qdq, sensitivity, trace
from i2i_rt.export.quantize import ROUNDED
from i2i_rt.export.sensitivity import Step, search
from i2i_rt.stages.table import load_stages, stages_of
from i2i_rt.testing import tiny_bundle
from tests.capabilities import small_configurations

FRAMES = {"frames": np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)}
RANDOM = np.random.Generator(np.random.PCG64(1))


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, onnx.ModelProto]:
    """A small generator's graph in float32 and in float16."""
    folder = tmp_path_factory.mktemp("graphs")
    stage = load_stages(tiny_bundle(folder / "bundle"))["translate"]
    found = {}
    for precision in ("fp32", "fp16"):
        file: Path = folder / f"{precision}.onnx"
        onnx_export.build(stage, file, precision=precision, metadata={})
        found[precision] = onnx.load(file)
    return found


@pytest.fixture(scope="module")
def seen(graphs: Mapping[str, onnx.ModelProto]) -> dict[str, qdq.Seen]:
    return qdq.calibrate(graphs["fp32"], [FRAMES])


def output_of(model: onnx.ModelProto) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    result: np.ndarray = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, FRAMES)[0]
    return result.astype(np.float64)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(a - b).mean()))


@pytest.mark.parametrize(("precision", "least"), [("int8", 25.0), ("fp8", 15.0)])
@pytest.mark.parametrize("base", ["fp32", "fp16"])
def test_graph_for_tensorrt_is_symmetric_and_close(
    graphs: Mapping[str, onnx.ModelProto], seen: dict[str, qdq.Seen], precision: str, least: float, base: str
) -> None:
    scheme = qdq.TENSORRT[precision]
    model = qdq.insert(graphs[base], seen, scheme, seen)
    onnx.checker.check_model(model)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    kinds = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16}
    rounding = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(rounding) == 3 * len(seen)  # of each layer its input, there and back, and its weights
    for node in rounding:
        scale, zero = (constants[name] for name in node.input[1:3])
        assert scale.data_type == kinds[base] and zero.data_type == scheme.activations
        assert not onnx.numpy_helper.to_array(zero).astype(np.float32).any()
    assert least < psnr(output_of(model), output_of(graphs["fp32"])) < 60


def test_layers_that_are_not_named_stay_as_they_are(
    graphs: Mapping[str, onnx.ModelProto], seen: dict[str, qdq.Seen]
) -> None:
    assert qdq.insert(graphs["fp32"], seen, qdq.TENSORRT["int8"], []) == graphs["fp32"]
    one = qdq.insert(graphs["fp32"], seen, qdq.TENSORRT["int8"], [next(iter(seen))])
    assert sum(node.op_type == "QuantizeLinear" for node in one.graph.node) == 1


def test_channels_of_an_output_are_made_alike_and_taken_back(
    graphs: Mapping[str, onnx.ModelProto], seen: dict[str, qdq.Seen]
) -> None:
    """One channel of weights is a hundred times smaller: with one scale for all of them it would be lost."""
    model = onnx.ModelProto()
    model.CopyFrom(graphs["fp32"])
    layer = next(layer for layer in qdq.layers(model) if layer.operator == "Conv")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == layer.weight)
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0] /= 100
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    seen_now = qdq.calibrate(model, [FRAMES])
    exact, rounded = (
        qdq.values_of(entry, [layer.output])(FRAMES)[layer.output][0, 0]
        for entry in (model, qdq.insert(model, seen_now, qdq.ONNXRUNTIME, [layer.name]))
    )
    error = np.linalg.norm(rounded - exact) / np.linalg.norm(exact - exact.mean())
    assert error < 0.1


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("bicyclegan", "style_from_image"),  # sums and averages behind convolutions
        ("unit-shared", "translate"),  # leaky ReLUs
        ("pix2pix", "translate"),  # a bias that the exporter computes
    ],
)
def test_layers_without_norms_behind_them_load_in_onnxruntime(tmp_path: Path, name: str, stage: str) -> None:
    """Its integer kernels of other operators take one scale for all channels; all its optimisations are on."""
    import onnxruntime

    made = stages_of(name.partition("-")[0], small_configurations()[name]().networks)[stage]
    onnx_export.build(made, tmp_path / "plain.onnx", precision="fp32", metadata={})
    model = onnx.load(tmp_path / "plain.onnx")
    inputs = {
        tensor.name: RANDOM.integers(0, 256, array.shape).astype(array.dtype)
        for tensor, array in zip(made.spec.inputs, trace.examples(made.spec), strict=True)
        for array in [array.numpy()]
    }
    seen = qdq.calibrate(model, [inputs])
    names = [layer.name for layer in qdq.layers(model) if layer.operator == "Conv"]
    rounded = qdq.insert(model, seen, qdq.ONNXRUNTIME, names)
    assert sum(node.op_type == "QuantizeLinear" for node in rounded.graph.node) > len(names)
    exact, found = (
        onnxruntime.InferenceSession(graph.SerializeToString()).run(None, inputs)[0].astype(float)
        for graph in (model, rounded)
    )
    assert np.linalg.norm(found - exact) < 0.3 * np.linalg.norm(exact - exact.mean())


@pytest.mark.parametrize("element", [TensorProto.UINT8, TensorProto.INT8], ids=["uint8", "int8"])
def test_range_leaves_out_what_is_far_outside(element: int) -> None:
    values = np.append(RANDOM.standard_normal(500_000), 15).astype(np.float32)
    whole = float(values.max() - values.min()) if element == TensorProto.UINT8 else 2 * 15
    assert float(qdq.Grid.fitting(values, element).scale) < 0.75 * whole / 254


def test_losses_find_the_layer_that_suffers(graphs: Mapping[str, onnx.ModelProto], seen: dict[str, qdq.Seen]) -> None:
    """A layer whose input has one huge value keeps few levels for the rest."""
    worst = list(seen)[2]
    entry = seen[worst]
    broken = qdq.Seen(entry.inputs * 200, entry.outputs, entry.multiplications)
    model = onnx.inliner.inline_local_functions(graphs["fp32"])
    clamp = [node.input[0] for node in model.graph.node if node.op_type == "Clip"][-1]
    found = sensitivity.losses(model, {**seen, worst: broken}, ROUNDED, [FRAMES], clamp)
    assert max(found, key=lambda name: found[name]) == worst


def attempts(losses: Mapping[str, float]) -> tuple[list[frozenset[str]], Callable[[frozenset[str]], Step]]:
    """A stand-in for trying: the error is the sum of the losses of the layers in 8 bits."""
    tried: list[frozenset[str]] = []

    def attempt(kept: frozenset[str]) -> Step:
        tried.append(kept)
        error = sum(loss for name, loss in losses.items() if name not in kept)
        return Step(len(kept), 1 - len(kept) / len(losses), float(-10 * np.log10(error)), None, None)

    return tried, attempt


def test_search_keeps_the_worst_and_stops_at_the_gate() -> None:
    losses = {"a": 1e-3, "b": 5e-4, "c": 2e-4, "d": 1e-4, "e": 1e-4}
    tried, attempt = attempts(losses)
    kept, steps = search(attempt, lambda: losses, dict.fromkeys(losses, 1), gate_db=33.0)
    assert tried == [frozenset(), frozenset("a"), frozenset("ab")]
    assert kept == frozenset("ab") and steps[-1].decibels >= 33.0


def test_search_prefers_layers_that_save_little() -> None:
    losses = {"large": 5e-4, "small": 5e-4}
    tried, attempt = attempts(losses)
    search(attempt, lambda: losses, {"large": 100, "small": 1}, gate_db=32.0)
    assert tried[1] == frozenset({"small"})


def test_search_asks_for_no_losses_where_the_first_attempt_will_do() -> None:
    _, attempt = attempts({"a": 1e-6})

    def never() -> Mapping[str, float]:
        raise AssertionError

    kept, steps = search(attempt, never, {"a": 1}, gate_db=38.0)
    assert kept == frozenset() and len(steps) == 1


def test_search_ends_where_nothing_is_gained() -> None:
    tried: list[frozenset[str]] = []

    def attempt(kept: frozenset[str]) -> Step:
        tried.append(kept)
        return Step(len(kept), 1.0, 30.0, None, None)

    losses = {name: 1.0 for name in "abcdefgh"}
    kept, steps = search(attempt, lambda: losses, dict.fromkeys(losses, 1), gate_db=38.0)
    assert len(steps) == len(tried) == 2 and kept == frozenset()
