"""What `verify` says of an artifact that half precision breaks: the layer's name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from i2i_rt.bundle import Bundle
from i2i_rt.cli import main
from i2i_rt.export.broken_layer import explain
from i2i_rt.spec import Axis, StageSpec, TensorSpec
from i2i_rt.stages.base import Stage
from i2i_rt.testing import tiny_bundle


class Scaled(nn.Module):
    """Multiplies by a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Hidden(nn.Module):
    """Leaves float16's range inside, and comes back."""

    def forward(self, x: Tensor) -> Tensor:
        return (1000 * x).square() / 1e6


class Cancelled(nn.Module):
    """Loses what is small beside 100."""

    def forward(self, x: Tensor) -> Tensor:
        return (x + 100) - 100


class Taken(nn.Module):
    """Brings inputs to the type of the rest."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.first = Scaled(1.0)
        self.rest = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.rest(self.first(x.to(self.first.factor.dtype)))
        return result


@pytest.mark.parametrize(
    ("layers", "precision", "sentence"),
    [
        (lambda: (Scaled(3.0), Scaled(1e5), Scaled(2.0)), "fp16", "float16 leaves its range in rest.1"),
        (lambda: (Scaled(3.0), Hidden()), "fp16", "float16 gives NaN or infinite values first in rest.1"),
        (lambda: (Scaled(3.0), Cancelled(), Scaled(2.0)), "bf16", "bfloat16 loses most in rest.1: the error"),
    ],
    ids=["range", "inside", "error"],
)  # fmt: skip
def test_layer_that_breaks_is_named(layers: Callable[[], tuple[nn.Module, ...]], precision: str, sentence: str) -> None:
    tensor = TensorSpec("x", "float32", (Axis("N", size=64),))
    stage = Stage(StageSpec("numbers", (tensor,), (tensor,)), Taken(*layers()))
    numbers = np.linspace(0.01, 1, 64, dtype=np.float32)
    assert explain(stage, {"x": numbers}, precision).startswith(sentence)


def test_what_breaks_outside_of_all_layers_has_a_name_too() -> None:
    tensor = TensorSpec("x", "float32", (Axis("N", size=64),))
    stage = Stage(StageSpec("numbers", (tensor,), (tensor,)), Hidden())
    numbers = np.linspace(0.01, 1, 64, dtype=np.float32)
    assert explain(stage, {"x": numbers}, "fp16").startswith("float16 loses most in the last step: ")


def test_verification_names_the_layer_that_leaves_float16(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last convolution's sums are beyond float16, while tanh makes pictures of them in float32."""
    bundle = tiny_bundle(tmp_path / "bundle")
    weights = bundle.weights()
    name = max((key for key in weights if key.endswith("weight")), key=lambda key: int(key.split(".")[2]))
    weights[name] = weights[name] * 1e6
    save_file(weights, bundle.path / "weights.safetensors")
    assert main(["export", str(bundle.path), "--format", "onnx", "--precision", "fp16"]) == 1
    printed = capsys.readouterr().out.replace("\n", "")
    layer = name.removesuffix(".weight")
    assert f"float16 leaves its range in {layer}: largest value" in printed
    assert any(layer in record["remark"] for record in Bundle.open(bundle.path).verification())
