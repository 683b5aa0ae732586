"""The Swapping Autoencoder's stages: what they compute; `tests/test_capabilities.py` runs their graphs."""

import numpy as np
import pytest
import torch

from i2i_rt.stages.base import Stage
from i2i_rt.stages.table import stages_of
from tests.small.swapping import STRUCTURE, TEXTURE, networks


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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_codes_are_float32_in_every_precision(dtype: torch.dtype) -> None:
    stage = stages_of("swapping", networks())["encode"]
    arrays = inputs_of(stage, (1, 32, 48))
    exact = expected(stage, arrays)
    stage.module.to(dtype)
    for mine, theirs in zip(exact, expected(stage, arrays), strict=True):
        assert theirs.dtype == np.float32
        assert np.abs(mine - theirs).mean() < 0.02
