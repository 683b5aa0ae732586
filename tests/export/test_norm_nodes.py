"""The node of `norm_act` in ONNX Runtime gives what the operator's reference gives, whatever it is asked for."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from i2i_rt.export import onnx as export_onnx
from i2i_rt.kernels import norm_act
from i2i_rt.spec import Axis, StageSpec, TensorSpec
from i2i_rt.stages.base import Stage

# name -> what the operator is asked for, and the nodes that this is
CASES = {
    "plain": ({}, ["Norm"]),
    "learned, ReLU": ({"learned": True, "slope": 0.0}, ["NormRelu"]),
    "learned, leaky, residual": ({"learned": True, "slope": 0.2, "residual": True}, ["NormActAdd"]),
    "residual, edges": ({"residual": True, "pad": 2}, ["NormAdd"]),
    "twice as large, edges": ({"slope": 0.0, "upsample": True, "pad": 1}, ["NormRelu"]),
    "adaptive": ({"adaptive": True}, ["AdaptiveNorm"]),
    "adaptive, one plus, leaky": ({"adaptive": True, "one_plus": True, "slope": 0.2}, ["AdaptiveNormAct"]),
    "adaptive, residual": ({"adaptive": True, "residual": True}, ["AdaptiveNormAdd"]),
    "adaptive, everything": (
        {"adaptive": True, "residual": True, "slope": 0.2, "mask": True, "upsample": True, "pad": 1},
        ["AdaptiveNormActAdd"],
    ),
    "masked, by variance": ({"mask": True, "by_variance": True, "adaptive": True, "residual": True, "slope": 0.2}, []),
}


class Asked(nn.Module):
    """A convolution and the norm behind it."""

    def __init__(
        self, learned: bool = False, adaptive: bool = False, residual: bool = False, mask: bool = False, **rest: object
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.weight, self.bias = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4))
        self.learned, self.adaptive, self.residual, self.mask, self.rest = learned, adaptive, residual, mask, rest

    def forward(self, image: Tensor, style: Tensor) -> Tensor:
        x = self.convolution(image.to(self.weight.dtype))
        weight = bias = None
        if self.learned:
            weight, bias = self.weight, self.bias
        if self.adaptive:
            weight, bias = style[:, :4], style[:, 4:]
        result: Tensor = norm_act(
            x,
            weight,
            bias,
            residual=2 * x if self.residual else None,
            mask=torch.sigmoid(x) if self.mask else None,
            **self.rest,  # type: ignore[arg-type]
        )
        return result.float()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("asked", "nodes"), CASES.values(), ids=CASES)
def test_node_gives_what_the_operator_gives(
    asked: dict[str, object], nodes: list[str], precision: str, tmp_path: Path
) -> None:
    import onnxruntime

    torch.manual_seed(0)
    module = Asked(**asked).eval()  # type: ignore[arg-type]
    batch, channels = Axis("N"), Axis("C", size=4)
    image = TensorSpec("image", "float32", (batch, Axis("RGB", size=3), Axis("H", low=4), Axis("W", low=4)))
    style = TensorSpec("style", "float32", (batch, Axis("S", size=8)))
    result = TensorSpec("result", "float32", (batch, channels, Axis("height"), Axis("width")))
    file = tmp_path / "norm.onnx"
    export_onnx.build(
        Stage(StageSpec("norm", (image, style), (result,)), module), file, precision=precision, metadata={}
    )
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node if node.domain] == nodes
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for shape in ((2, 3, 9, 7), (1, 3, 4, 16)):
        tensors = {"image": torch.randn(shape) + 1, "style": torch.randn(shape[0], 8)}
        with torch.inference_mode():
            expected = module(*tensors.values()).numpy()
        feeds = {tensor.name: tensors[tensor.name].numpy() for tensor in session.get_inputs()}
        actual = session.run(None, feeds)[0]
        error = np.linalg.norm(actual - expected) / np.linalg.norm(expected)
        assert error < (1e-5 if precision == "fp32" else 5e-3)
