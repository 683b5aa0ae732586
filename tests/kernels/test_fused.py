"""Which kernels the switch lets an operator use."""

import pytest
import torch
from torch import Tensor

from i2i_rt.kernels import fused


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_trusted", {("one.cuda", torch.float32, torch.device("cpu"))})


@pytest.mark.usefixtures("trusted")
def test_kernels_that_no_graph_can_hold_are_never_traced() -> None:
    x = torch.zeros(2)
    assert fused.eager("one.cuda", x) and fused.eager("one.cuda", torch.nn.Parameter(x))
    assert not fused.eager("another.cuda", x) and not fused.eager("one.cuda", x.half())
    with fused.mode("off"):
        assert not fused.eager("one.cuda", x)
    with fused.mode("export"):
        assert not fused.eager("one.cuda", x)
    seen = []

    class Traced(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(fused.eager("one.cuda", x))
            return x + 1

    torch.export.export(Traced(), (x,), strict=False)
    assert seen == [False]
