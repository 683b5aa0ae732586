"""The stage `translate` with frozen statistics: its norms take a clip's, and none of the frame's own."""

import torch
from torch import Tensor

from i2i_rt.kernels import statistics
from i2i_rt.stages.baked import Constant
from i2i_rt.stages.base import Stage


class Frozen(Constant):
    """A stage's module whose norms take `statistics` `[2, S]`, means and variances in the order in which they run."""

    def __init__(self, stage: Stage, frozen: Tensor) -> None:
        super().__init__(stage.module, {"statistics": frozen})

    def forward(self, *inputs: Tensor) -> Tensor:
        with statistics.using(statistics.Constants(self.constant("statistics"))):
            result: Tensor = self.module(*inputs)
        return result


def frozen(stage: Stage, moments: Tensor) -> Stage:
    """Gives the stage with statistics that are constant."""
    return Stage(stage.spec, Frozen(stage, moments).eval())


def recorded(stage: Stage, *inputs: Tensor) -> Tensor:
    """Runs a stage for one frame, every first axis being 1; gives the statistics `[2, S]` that its norms took."""
    recorder = statistics.Recorder()
    with torch.no_grad(), statistics.using(recorder):
        stage.module(*inputs)
    return recorder.statistics()
