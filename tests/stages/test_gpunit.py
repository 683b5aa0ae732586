"""GP-UNIT's stages as ONNX graphs: they agree with PyTorch in onnxruntime and OpenVINO, alone and two at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from i2i_rt.export import onnx as exporter
from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import stages_of
from tests.small.gpunit import NOISE, STYLE, small

NAMES = ("translate", "style_from_image", "style_from_noise")
SIZES = ((64, 96), (128, 64))


@pytest.fixture(scope="module")
def stages() -> dict[str, Stage]:
    return stages_of("gpunit", small().networks)


@pytest.fixture(scope="module")
def graphs(stages: dict[str, Stage], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Every stage in both precisions, written once."""
    folder = tmp_path_factory.mktemp("gpunit")
    files = {}
    for name in NAMES:
        for precision in ("fp32", "fp16"):
            files[name, precision] = folder / f"{name}.{precision}.onnx"
            exporter.build(stages[name], files[name, precision], precision=precision, metadata={})
    return files


def inputs_of(name: str, size: tuple[int, int], batch: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (batch, *size, 3), np.uint8)
    return {
        "translate": {"frames": frames, "style": random.random((batch, STYLE), np.float32)},
        "style_from_image": {"reference": frames},
        "style_from_noise": {"noise": random.standard_normal((batch, NOISE), np.float32)},
    }[name]


def in_onnxruntime(file: Path) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def in_openvino(file: Path) -> Any:
    from i2i_rt.runtime.openvino import core

    model = core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda inputs: model(inputs)[0]


@pytest.mark.parametrize("open_graph", [in_onnxruntime, in_openvino])
@pytest.mark.parametrize("name", NAMES)
def test_graph_agrees(
    stages: dict[str, Stage], graphs: dict[tuple[str, str], Path], name: str, open_graph: Any
) -> None:
    run = open_graph(graphs[name, "fp32"])
    for size in SIZES:
        for batch in (1, 2):
            inputs = inputs_of(name, size, batch)
            expected = stages[name].module(*map(torch.from_numpy, inputs.values())).numpy()
            actual = run(inputs)
            assert actual.dtype == expected.dtype and actual.shape == expected.shape
            if name == "translate":
                assert np.abs(actual.astype(int) - expected).max() <= 1
            else:
                np.testing.assert_allclose(actual, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_graph_agrees_roughly(
    stages: dict[str, Stage], graphs: dict[tuple[str, str], Path], name: str
) -> None:
    inputs = inputs_of(name, SIZES[0], 2)
    expected = stages[name].module(*map(torch.from_numpy, inputs.values())).numpy()
    actual = in_onnxruntime(graphs[name, "fp16"])(inputs)
    assert np.isfinite(actual).all()
    assert np.abs(actual.astype(float) - expected).mean() <= 0.02 * np.abs(expected).max()


def test_half_precision_graph_keeps_statistics_in_float32(graphs: dict[tuple[str, str], Path]) -> None:
    import onnx

    model = onnx.load(graphs["translate", "fp16"])
    producers = {output: node for node in model.graph.node for output in node.output}
    norms = [node for node in model.graph.node if node.op_type == "InstanceNormalization"]
    assert len(norms) > 20
    for node in norms:
        cast = producers[node.input[0]]
        while cast.op_type == "Reshape":
            cast = producers[cast.input[0]]
        assert cast.op_type == "Cast" and cast.attribute[0].i == onnx.TensorProto.FLOAT


def test_masks_are_not_in_the_graph(graphs: dict[tuple[str, str], Path]) -> None:
    import onnx

    graph = onnx.load(graphs["translate", "fp32"]).graph
    assert [output.name for output in graph.output] == ["translated"]
    # the last level's image and the three layers of each block: no level below paints one
    heads = [tensor for tensor in graph.initializer if list(tensor.dims)[2:] == [7, 7]]
    assert len(heads) == 1


def test_without_sampler_there_is_no_noise_stage() -> None:
    assert list(stages_of("gpunit", small(sampler=False).networks)) == ["translate", "style_from_image"]


def test_a_style_moves_the_picture(stages: dict[str, Stage]) -> None:
    inputs = [torch.from_numpy(array) for array in inputs_of("translate", SIZES[0], 1).values()]
    moved = stages["translate"].module(inputs[0], inputs[1].flip(1))
    assert (moved.float() - stages["translate"].module(*inputs)).abs().mean() > 2
