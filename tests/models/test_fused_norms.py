"""The norms of all networks: with the fused operator as without, and none of them left to PyTorch."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from i2i_rt.kernels import fused
from i2i_rt.stages.table import stages_of
from tests.capabilities import small_configurations
from tests.stages.inputs import inputs_of

# the official networks whose generators normalise by the image's own statistics
NORMALISING = (
    "bicyclegan",
    "cut",
    "cyclegan",
    "egscit",
    "gpunit",
    "munit",
    "pix2pix",
    "starganv2",
    "starganv2-masks",
    "step",
    "tunit",
    "unit",
)


class Operations(TorchDispatchMode):
    """Counts what is computed; of an operator with a CPU kernel of its own, the operator alone."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[function.name()] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("key", NORMALISING)
def test_networks_give_the_same_with_the_fused_operator(key: str) -> None:
    stage = stages_of(key.split("-")[0], small_configurations()[key]().networks)["translate"]
    inputs = [torch.from_numpy(value) for value in inputs_of(stage, 64, 64, 2).values()]
    with torch.inference_mode():
        with fused.mode("off"):
            plain = stage.module(*inputs)
        with fused.mode("export", only={"norm_act", "norm_act_edged"}), Operations() as operations:
            result = stage.module(*inputs)
    # the kernel's layout may have the convolutions sum in another order
    assert (result.int() - plain.int()).abs().max() <= 1
    counts = operations.counts
    assert counts["i2i_rt::norm_act"] > 0 and counts["aten::instance_norm"] == 0
    if key == "cyclegan":
        # the picture's own edges are padded, its levels are rounded; all else lies in convolutions and norms
        assert (counts["aten::pad"], counts["aten::add.Tensor"], counts["aten::relu"]) == (1, 1, 0)
    if key == "starganv2":
        assert counts["aten::leaky_relu"] == 0


@pytest.mark.parametrize("key", ["cyclegan", "egscit", "munit", "tunit"])
def test_networks_compile_as_one_graph(key: str) -> None:
    stage = stages_of(key.split("-")[0], small_configurations()[key]().networks)["translate"]
    inputs = [torch.from_numpy(value) for value in inputs_of(stage, 64, 64, 1).values()]
    compiled = torch.compile(stage.module, dynamic=False, fullgraph=True, backend="eager")
    with torch.inference_mode():
        assert torch.equal(compiled(*inputs), stage.module(*inputs))
