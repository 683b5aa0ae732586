"""Plugins in the places of fused nodes: the graph computes the same, with fewer nodes behind the norms."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import UnsupportedError
from i2i_rt.export import onnx as onnx_export
from i2i_rt.export import tensorrt, tensorrt_registry
from i2i_rt.export.fused_nodes import inlined
from i2i_rt.export.profiles import EngineOptions, parse
from i2i_rt.export.tensorrt_fusion import with_plugins
from i2i_rt.export.tensorrt_graph import prepare
from i2i_rt.kernels import norm_act, spade_table_apply
from i2i_rt.kernels.norm_act import norm_act_reference
from i2i_rt.kernels.spade_table import spade_table_apply_reference
from i2i_rt.runtime import tensorrt_builder
from i2i_rt.runtime.artifact_key import ArtifactKey
from i2i_rt.spec import Axis, StageSpec, TensorSpec
from i2i_rt.stages.base import Stage
from tests import gpu_stand_ins


class Blocks(nn.Module):
    """Norms with all that the networks do behind them, of images in float32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, channels))
        self.bias = nn.Parameter(torch.linspace(-0.5, 0.5, channels))

    @staticmethod
    def spec(channels: int) -> StageSpec:
        sides = (Axis("H", multiple=4, low=8), Axis("W", multiple=4, low=8))
        image = TensorSpec("image", "float32", (Axis("N"), Axis("C", size=channels), *sides))
        style = TensorSpec("style", "float32", (Axis("N"), Axis("style", size=2 * channels)))
        result = TensorSpec("result", "float32", (Axis("N"), Axis("C", size=channels), Axis("h"), Axis("w")))
        return StageSpec("blocks", (image, style), (result,))

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        image, style = image.to(self.weight.dtype), style.to(self.weight.dtype)
        edged = norm_act(image, self.weight, self.bias, slope=0.0, pad=1)
        x = functional.avg_pool2d(edged, 3, stride=1)
        summed = norm_act(x, residual=image)  # has two uses, so its edges stay apart
        x = functional.avg_pool2d(functional.pad(summed, (2, 2, 2, 2), mode="reflect"), 5, stride=1) + summed
        scale, shift = style.chunk(2, 1)
        large = norm_act(x, scale, shift, slope=0.2, one_plus=True, upsample=True, pad=1)
        large = norm_act(large, None, shift, slope=0.2)
        index = (torch.arange(large.shape[2])[:, None] + torch.arange(large.shape[3]))[None].to(torch.int32) % 3
        table = torch.stack([self.weight, self.bias], 0).repeat(3, 1).view(3, -1)
        return spade_table_apply(large, index.repeat(large.shape[0], 1, 1), table, 0.2).float()


class NormStats(OpRun):  # type: ignore[misc]
    op_domain = "i2i_rt"

    def _run(self, x: np.ndarray) -> tuple[np.ndarray]:
        return (np.zeros((x.shape[0], 1, 2, x.shape[1]), np.float32),)


class NormApply(OpRun):  # type: ignore[misc]
    op_domain = "i2i_rt"

    def _run(self, x: np.ndarray, partial: np.ndarray, *parts: np.ndarray, **options: Any) -> tuple[np.ndarray]:
        assert partial.shape == (x.shape[0], 1, 2, x.shape[1])
        result = norm_act_reference(
            *(torch.from_numpy(array.copy()) for array in (x, *parts)),
            eps=options["epsilon"],
            slope=options["slope"],
            upsample=bool(options["upsample"]),
            pad=options["pad"],
        )
        return (result.numpy(),)


class NormApplyAdd(NormApply):
    pass


class SpadeTableApply(OpRun):  # type: ignore[misc]
    op_domain = "i2i_rt"

    def _run(self, *arrays: np.ndarray, slope: float) -> tuple[np.ndarray]:
        x, index, table = (torch.from_numpy(array.copy()) for array in arrays)
        return (spade_table_apply_reference(x, index, table, slope).numpy(),)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fusion") / "blocks.onnx"
    onnx_export.build(Stage(Blocks.spec(4), Blocks(4).eval()), path, precision="fp32", metadata={})
    return path


def types(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_graph_with_plugins_computes_the_same(file: Path) -> None:
    import onnxruntime

    random = np.random.default_rng(0)
    inputs = {
        "image": random.standard_normal((2, 4, 12, 8), dtype=np.float32),
        "style": random.standard_normal((2, 8), dtype=np.float32),
    }
    plain = onnxruntime.InferenceSession(inlined(file).SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = plain.run(None, inputs)
    model = onnx.load(file)
    prepared = prepare(model, plugins=with_plugins(model))
    evaluator = ReferenceEvaluator(prepared, new_ops=[NormStats, NormApply, NormApplyAdd, SpadeTableApply])
    (actual,) = evaluator.run(None, inputs)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_what_follows_is_taken_along_where_nothing_else_uses_it(file: Path) -> None:
    model = onnx.load(file)
    assert with_plugins(model) == {"NormStats", "NormApply", "NormApplyAdd", "SpadeTableApply"}
    nodes = [node for node in model.graph.node if node.op_type.startswith("NormApply")]
    options = [
        {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute} for node in nodes
    ]
    assert [(one["upsample"], one["pad"], round(one["slope"], 6)) for one in options] == [
        (0, 1, 0.0), (0, 0, 1.0), (1, 1, 0.2),
    ]  # fmt: skip
    assert "Resize" not in types(model) and types(model).count("Pad") == 1


def test_engine_with_plugins_says_which(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_stand_ins.install(monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    registered: list[int] = []
    monkeypatch.setattr(tensorrt_registry, "register_all", registered.append)
    engine = tmp_path / "blocks.fp32.engine"
    options = EngineOptions(parse("16x16", "1"), plugins=True)
    tensorrt.build(file, engine, spec=Blocks.spec(4), precision="fp32", weights="", options=options)
    key = ArtifactKey.read(engine)
    assert key is not None and key.options["plugins"] == "NormApply, NormApplyAdd, NormStats, SpadeTableApply"
    assert registered == [89]  # for an L4
    # elsewhere, only the export can build them
    gpu_stand_ins.install(monkeypatch, gpu="NVIDIA H100", capability="9.0")
    with pytest.raises(UnsupportedError, match="has plugins, which only 'i2i-rt export' builds, and it was made for"):
        tensorrt_builder.rebuilt(engine, str(key.difference(tensorrt_builder.again(key))))


def test_constant_row_beside_rows_of_each_image_is_left_to_the_body(file: Path) -> None:
    model = onnx.load(file)
    with_plugins(model)
    left = [name for name in types(model) if name.startswith("Adaptive")]
    assert left == ["AdaptiveNormAct"]
    assert "AdaptiveNormAct" not in types(prepare(model, plugins=frozenset({"NormStats", "NormApply", "NormApplyAdd"})))
