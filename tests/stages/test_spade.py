"""SPADE's stages as ONNX graphs: they agree with PyTorch in onnxruntime and OpenVINO, alone and two at a time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from i2i_rt.export import onnx as exporter
from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import stages_of
from tests.small.spade import CLASSES, SMALL, STYLE

GRAPHS = (("spade", "translate"), ("spade-vae", "translate"), ("spade-vae", "style_from_image"))


@pytest.fixture(scope="module")
def stages() -> dict[tuple[str, str], Stage]:
    return {
        (kind, name): stage
        for kind, small in SMALL.items()
        for name, stage in stages_of("spade", small().networks).items()
    }


@pytest.fixture(scope="module")
def graphs(stages: dict[tuple[str, str], Stage], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Exports a stage when it is first asked for."""
    folder = tmp_path_factory.mktemp("spade")

    def graph(key: tuple[str, str], precision: str) -> Path:
        file = folder / f"{'-'.join(key)}.{precision}.onnx"
        if not file.exists():
            exporter.build(stages[key], file, precision=precision, metadata={})
        return file

    return graph


def inputs_of(key: tuple[str, str], size: tuple[int, int], batch: int) -> dict[str, np.ndarray]:
    """Draws inputs; the generator with a VAE takes label maps of 64x96 alone."""
    random = np.random.default_rng(0)
    kind, name = key
    if name == "style_from_image":
        return {"reference": random.integers(0, 256, (batch, *size, 3), np.uint8)}
    height, width = size if kind == "spade" else (64, 96)
    coarse = random.integers(0, CLASSES + 1, (batch, height // 8, width // 8), np.uint8)
    labels = coarse.repeat(8, 1).repeat(8, 2)
    labels[labels == CLASSES] = 255
    inputs = {"labels": labels, "edges": random.integers(0, 2, labels.shape, np.uint8)}
    return inputs | ({"style": random.standard_normal((batch, STYLE), np.float32)} if kind == "spade-vae" else {})


def expected_of(stage: Stage, inputs: dict[str, np.ndarray]) -> np.ndarray:
    result: np.ndarray = stage.module(*map(torch.from_numpy, inputs.values())).numpy()
    return result


def in_onnxruntime(file: Path) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)[0]


def in_openvino(file: Path) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    from i2i_rt.runtime.openvino import core

    model = core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda inputs: model(inputs)[0]


@pytest.mark.parametrize("open_graph", [in_onnxruntime, in_openvino])
@pytest.mark.parametrize("key", GRAPHS, ids="-".join)
def test_graph_agrees(stages: dict, graphs: Callable[..., Path], key: tuple[str, str], open_graph: Callable) -> None:
    run = open_graph(graphs(key, "fp32"))
    for size in ((64, 96), (96, 32)):
        for batch in (1, 2):
            inputs = inputs_of(key, size, batch)
            expected, actual = expected_of(stages[key], inputs), run(inputs)
            assert actual.dtype == expected.dtype and actual.shape == expected.shape
            if key[1] == "translate":
                assert np.abs(actual.astype(int) - expected).max() <= 1
            else:
                np.testing.assert_allclose(actual, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("key", GRAPHS, ids="-".join)
def test_half_precision_graph_agrees_roughly(stages: dict, graphs: Callable[..., Path], key: tuple[str, str]) -> None:
    inputs = inputs_of(key, (64, 96), 2)
    expected = expected_of(stages[key], inputs)
    actual = in_onnxruntime(graphs(key, "fp16"))(inputs)
    assert np.isfinite(actual).all()
    assert np.abs(actual.astype(float) - expected).mean() <= 0.01 * np.abs(expected).max()


@pytest.mark.parametrize("key", GRAPHS, ids="-".join)
def test_half_precision_graph_keeps_statistics_in_float32(graphs: Callable[..., Path], key: tuple[str, str]) -> None:
    import onnx

    model = onnx.load(graphs(key, "fp16"))
    producers = {output: node for node in model.graph.node for output in node.output}
    kinds = ("InstanceNormalization", "BatchNormalization")
    norms = [node for node in model.graph.node if node.op_type in kinds]
    assert len(norms) >= 6
    for node in norms:
        cast = producers[node.input[0]]
        while cast.op_type == "Reshape":
            cast = producers[cast.input[0]]
        assert cast.op_type == "Cast" and cast.attribute[0].i == onnx.TensorProto.FLOAT


def test_every_input_moves_the_picture(stages: dict[tuple[str, str], Stage]) -> None:
    key = ("spade-vae", "translate")
    inputs = inputs_of(key, (64, 96), 1)
    plain = expected_of(stages[key], inputs).astype(int)
    assert 20 < plain.std() < 110
    for name in inputs:
        changed = {**inputs, name: np.flip(inputs[name], -1).copy()}
        assert np.abs(expected_of(stages[key], changed) - plain).mean() > 1, name


def test_unknown_has_a_channel_of_its_own(stages: dict[tuple[str, str], Stage]) -> None:
    stage = stages["spade", "translate"]
    edges = np.zeros((1, 32, 32), np.uint8)
    pictures = [
        expected_of(stage, {"labels": np.full_like(edges, label), "edges": edges}) for label in (255, CLASSES, 0)
    ]
    assert (pictures[0] == pictures[1]).all() and (pictures[0] != pictures[2]).any()
