"""Every system that can be trained, by its name."""

from collections.abc import Callable
from typing import Any

from i2i_rt.errors import I2IError, closest
from i2i_rt.systems import cut, cyclegan, pix2pix, sincut
from i2i_rt.systems.base import Recipe, Shape, System

SYSTEMS: dict[str, tuple[Callable[[Shape], System[Any]], Recipe]] = {
    "cyclegan": (cyclegan.build_cyclegan, cyclegan.RECIPE),
    "cut": (cut.build_cut, cut.CUT_RECIPE),
    "fastcut": (cut.build_fastcut, cut.FASTCUT_RECIPE),
    "sincut": (sincut.build_sincut, sincut.RECIPE),
    "pix2pix": (pix2pix.build_pix2pix, pix2pix.RECIPE),
}


def find(name: str) -> tuple[Callable[[Shape], System[Any]], Recipe]:
    """Gives what builds a system with fresh weights, and how its paper trains it.

    Raises:
        I2IError: where there is none of that name.
    """
    if name not in SYSTEMS:
        raise I2IError(f"no system is called {name!r}; {closest(name, SYSTEMS)}")
    return SYSTEMS[name]
