"""Every system that can be trained, by its name."""

from collections.abc import Callable
from typing import Any

from i2i_rt.errors import I2IError, closest
from i2i_rt.systems import (
    bicyclegan,
    cut,
    cycada,
    cyclegan,
    egscit,
    egscit_masks,
    gpunit,
    gpunit_prior,
    gpunit_sampler,
    munit,
    munit_paired,
    pix2pix,
    segmentation,
    sincut,
    spade,
    starganv2,
    step,
    step_mapper,
    step_styles,
    swapping,
    tunit,
    unit,
    unit_shared,
)
from i2i_rt.systems.base import Recipe, Shape, System

SYSTEMS: dict[str, tuple[Callable[[Shape], System[Any]], Recipe]] = {
    "cyclegan": (cyclegan.build_cyclegan, cyclegan.RECIPE),
    "cut": (cut.build_cut, cut.CUT_RECIPE),
    "fastcut": (cut.build_fastcut, cut.FASTCUT_RECIPE),
    "sincut": (sincut.build_sincut, sincut.RECIPE),
    "pix2pix": (pix2pix.build_pix2pix, pix2pix.RECIPE),
    "step-styles": (step_styles.build_step_styles, step_styles.RECIPE),
    "step": (step.build_step, step.RECIPE),
    "step-finetune": (step.build_step_finetune, step.FINETUNE_RECIPE),
    "step-mapper": (step_mapper.build_step_mapper, step_mapper.RECIPE),
    "bicyclegan": (bicyclegan.build_bicyclegan, bicyclegan.RECIPE),
    "munit-paired": (munit_paired.build_munit_paired, munit_paired.RECIPE),
    "munit": (munit.build_munit, munit.RECIPE),
    "unit": (unit.build_unit, unit.RECIPE),
    "unit-shared": (unit_shared.build_shared_unit, unit_shared.RECIPE),
    "starganv2": (starganv2.build_starganv2, starganv2.RECIPE),
    "smoothing": (starganv2.build_smoothing, starganv2.SMOOTHING_RECIPE),
    "cycada": (cycada.build_cycada, cycada.RECIPE),
    "segmentation": (segmentation.build_segmentation, segmentation.RECIPE),
    "spade": (spade.build_spade, spade.RECIPE),
    "egscit-masks": (egscit_masks.build_egscit_masks, egscit_masks.RECIPE),
    "egscit": (egscit.build_egscit, egscit.RECIPE),
    "swapping": (swapping.build_swapping, swapping.RECIPE),
    "gpunit-prior": (gpunit_prior.build_gpunit_prior, gpunit_prior.RECIPE),
    "gpunit": (gpunit.build_gpunit, gpunit.RECIPE),
    "gpunit-sampler": (gpunit_sampler.build_gpunit_sampler, gpunit_sampler.RECIPE),
    "tunit": (tunit.build_tunit, tunit.RECIPE),
    "tunit-smoothing": (tunit.build_smooth_tunit, tunit.SMOOTH_RECIPE),
}


def find(name: str) -> tuple[Callable[[Shape], System[Any]], Recipe]:
    """Gives what builds a system with fresh weights, and how its paper trains it.

    Raises:
        I2IError: where there is none of that name.
    """
    if name not in SYSTEMS:
        raise I2IError(f"no system is called {name!r}; {closest(name, SYSTEMS)}")
    return SYSTEMS[name]
