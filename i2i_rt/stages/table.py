"""The stages of every system."""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from i2i_rt.bundle import Bundle
from i2i_rt.errors import BundleError, closest
from i2i_rt.models import table
from i2i_rt.stages import bicyclegan, cycada, egscit, gpunit, munit, single, spade, stargan, step, swapping, tunit, unit
from i2i_rt.stages.baked import baked
from i2i_rt.stages.base import Stage
from i2i_rt.stages.frozen import frozen

BAKED = "baked."  # before the names of constant inputs among a bundle's weights
FROZEN = "frozen.statistics"  # the name of constant statistics

# system -> what makes its stages from its networks
STAGES: dict[str, Callable[[Mapping[str, nn.Module]], list[Stage]]] = {
    "cyclegan": single.stages,
    "cut": single.stages,
    "fastcut": single.stages,
    "sincut": single.stages,
    "pix2pix": single.stages,
    "gpunit": gpunit.stages,
    "bicyclegan": bicyclegan.stages,
    "spade": spade.stages,
    "swapping": swapping.stages,
    "starganv2": stargan.stages,
    "smoothing": stargan.stages,
    "tunit": tunit.stages,
    "munit": munit.stages,
    "unit": unit.stages,
    "cycada": cycada.stages,
    "step": step.stages,
    "egscit": egscit.stages,
}


def stages_of(system: str, networks: Mapping[str, nn.Module]) -> dict[str, Stage]:
    """Gives every stage of a system, by name.

    Raises:
        BundleError: where no system has that name.
    """
    if system not in STAGES:
        raise BundleError(f"no system is called {system!r}; {closest(system, STAGES)}")
    return {stage.spec.name: stage for stage in STAGES[system](networks)}


def load_stages(bundle: Bundle) -> dict[str, Stage]:
    """Gives a bundle's stages with its weights, in float32 on the CPU."""
    stages = stages_of(bundle.system, table.load(bundle))
    if moments := bundle.weights(prefix=FROZEN):
        # what smooths statistics from frame to frame has none left to smooth
        stages.pop("translate_stabilized", None)
        stages["translate"] = frozen(stages["translate"], torch.from_numpy(moments[FROZEN]))
    constants = {
        key.removeprefix(BAKED): torch.from_numpy(array) for key, array in bundle.weights(prefix=BAKED).items()
    }
    return {"translate": baked(stages["translate"], constants)} if constants else stages
