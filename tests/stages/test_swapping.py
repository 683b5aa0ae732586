"""The Swapping Autoencoder's stages: what they compute, and their graphs in ONNX Runtime and OpenVINO."""

from pathlib import Path

import numpy as np
import pytest
import torch

from i2i_rt.export import onnx, openvino
from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import stages_of
from tests.small.swapping import STRUCTURE, TEXTURE, networks

SHAPES = ((1, 32, 48), (2, 36, 28))


@pytest.fixture(scope="module")
def stages() -> dict[str, Stage]:
    return stages_of("swapping", networks())


def inputs_of(stage: Stage, shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Draws what a stage takes for frames of a shape."""
    random = np.random.default_rng(0)
    batch, height, width = shape
    lengths = {"N": batch, "H": height, "W": width, "h": height // 4, "w": width // 4}
    arrays = {}
    for tensor in stage.spec.inputs:
        size = [axis.size or lengths[axis.name] for axis in tensor.axes]
        arrays[tensor.name] = (
            random.integers(0, 256, size, np.uint8)
            if tensor.dtype == "uint8"
            else random.standard_normal(size).astype(np.float32)
        )
    return arrays


def expected(stage: Stage, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    results = stage.module(*(torch.from_numpy(arrays[tensor.name]) for tensor in stage.spec.inputs))
    return [result.numpy() for result in (results if isinstance(results, tuple) else (results,))]


def test_pictures_vary_and_the_texture_changes_them(stages: dict[str, Stage]) -> None:
    arrays = inputs_of(stages["translate"], (1, 32, 48))
    first = expected(stages["translate"], arrays)[0].astype(int)
    second = expected(stages["translate"], {**arrays, "style": -arrays["style"]})[0].astype(int)
    assert first.std() > 20 and ((first == 0) | (first == 255)).mean() < 0.2
    assert np.abs(first - second).mean() > 10


def test_translation_is_decoding_the_structure_with_a_style(stages: dict[str, Stage]) -> None:
    arrays = inputs_of(stages["translate"], (2, 32, 48))
    structure, texture = expected(stages["encode"], {"frames": arrays["frames"]})
    assert structure.shape == (2, STRUCTURE, 8, 12) and texture.shape == (2, TEXTURE)
    np.testing.assert_allclose(np.linalg.norm(structure, axis=1), 1, rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(texture, axis=1), 1, rtol=1e-4)

    translated = expected(stages["translate"], arrays)[0]
    decoded = expected(stages["decode"], {"structure": structure, "texture": arrays["style"]})[0]
    style = expected(stages["style_from_image"], {"reference": arrays["frames"]})[0]

    assert np.array_equal(translated, decoded)
    np.testing.assert_allclose(style, texture, atol=1e-6)


def test_noise_is_the_same_in_every_run_and_batch(stages: dict[str, Stage]) -> None:
    arrays = inputs_of(stages["decode"], (2, 32, 48))
    both = expected(stages["decode"], arrays)[0]
    alone = expected(stages["decode"], {name: array[1:] for name, array in arrays.items()})[0]
    assert np.abs(both[1:].astype(int) - alone).max() <= 1


@pytest.mark.parametrize("name", ["translate", "style_from_image", "encode", "decode"])
def test_graph_agrees_with_the_network(stages: dict[str, Stage], tmp_path: Path, name: str) -> None:
    import onnxruntime

    from i2i_rt.runtime.openvino import core

    stage, file = stages[name], tmp_path / "graph.onnx"
    onnx.build(stage, file, precision="fp32", metadata={})
    openvino.build(file, tmp_path / "graph.xml", metadata={})
    runtime = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    compiled = core().compile_model(tmp_path / "graph.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for shape in SHAPES:
        arrays = inputs_of(stage, shape)
        if name == "decode":  # a place of zeros has no direction, and must not become NaN
            arrays["structure"][:, :, 0, 0] = 0
        answers = expected(stage, arrays)
        given = compiled(arrays)
        for actual in (runtime.run(None, arrays), [given[index] for index in range(len(answers))]):
            for mine, theirs in zip(answers, actual, strict=True):
                assert mine.shape == theirs.shape
                limit = 1 if mine.dtype == np.uint8 else 1e-4
                assert np.abs(mine.astype(np.float64) - theirs).max() <= limit


@pytest.mark.parametrize("name", ["translate", "encode"])
def test_half_precision_graph_agrees_roughly(stages: dict[str, Stage], tmp_path: Path, name: str) -> None:
    import onnxruntime

    stage, file = stages[name], tmp_path / "graph.onnx"
    onnx.build(stage, file, precision="fp16", metadata={})
    runtime = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    arrays = inputs_of(stage, SHAPES[0])
    for mine, theirs in zip(expected(stage, arrays), runtime.run(None, arrays), strict=True):
        assert mine.dtype == theirs.dtype and np.isfinite(theirs).all()
        difference = np.abs(mine.astype(np.float64) - theirs)
        assert difference.mean() <= (2 if mine.dtype == np.uint8 else 0.02)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_codes_are_float32_in_every_precision(dtype: torch.dtype) -> None:
    stage = stages_of("swapping", networks())["encode"]
    arrays = inputs_of(stage, SHAPES[0])
    exact = expected(stage, arrays)
    stage.module.to(dtype)
    for mine, theirs in zip(exact, expected(stage, arrays), strict=True):
        assert theirs.dtype == np.float32
        assert np.abs(mine - theirs).mean() < 0.02
