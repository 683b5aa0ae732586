"""The options of a run, with its paper's values where none are given."""

from typing import Any

from i2i_rt.errors import I2IError
from i2i_rt.systems.table import find
from i2i_rt.training.options import TrainingOptions

SHAPE = ("width", "blocks", "discriminator_width", "antialias")  # what an option and a system's networks share


def options_of(system: str, data: str, **given: Any) -> TrainingOptions:
    """Gives the options of a run: the fields of `TrainingOptions` that are given, else the paper's.

    Raises:
        I2IError: where a value is wrong, or means nothing to the system.
    """
    _, recipe = find(system)
    chosen = {
        name: getattr(recipe, name)
        for name in ("epochs", "decay_epochs", "batch", "resize", "load_size", "crop_size", "learning_rate")
    } | {name: getattr(recipe.shape, name) for name in SHAPE}
    for name in (*SHAPE, "direction"):
        if name in given and name not in recipe.uses:
            raise I2IError(f"--{name.replace('_', '-')} means nothing to {system}; leave it out")
    chosen |= given
    if "crop_size" in given and "load_size" not in given:
        # the paper's margin for random crops: 286 for 256
        chosen["load_size"] = round(given["crop_size"] * recipe.load_size / recipe.crop_size)
    return TrainingOptions(system=system, data=data, **chosen)
