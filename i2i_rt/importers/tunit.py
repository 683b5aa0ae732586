"""TUNIT: the averaged generator and guiding network of the official `model_*.ckpt`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from i2i_rt.checkpoint import read_nested
from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.importers.base import Imported, Options, groups_of, load_weights
from i2i_rt.models import tunit
from i2i_rt.preprocessing import Preprocessing
from i2i_rt.spec import StyleInfo


def read(files: Sequence[Path], options: Options) -> Imported:
    """Reads the networks of one official file; whatever else lies in it is left alone.

    Styles come from pictures: the network itself finds what domain they are of, and no noise is mapped to a style.
    """
    if len(files) != 1:
        raise I2IError(f"tunit has its networks in one file; give that, not {len(files)}")
    source = str(files[0])
    generator, guiding_network = load(read_nested(files[0]), source)
    if generator.config.style_dim != guiding_network.config.style_dim:
        raise CheckpointError(
            f"{source}: the networks do not belong together, the generator's styles have "
            f"{generator.config.style_dim} numbers, the guiding network's {guiding_network.config.style_dim}"
        )
    image_size = generator.config.image_size
    return Imported(
        {"generator": generator, "guiding_network": guiding_network},
        (),
        Preprocessing("resize", image_size, image_size, resample="bilinear"),
        StyleInfo("fitted", (), "linear"),
    )


def load(content: Mapping[str, Any], source: str) -> tuple[Any, Any]:
    """Makes the generator and the guiding network from what an official file holds.

    Raises:
        CheckpointError: where weights are missing, left over, or of another shape.
    """
    groups: Mapping[str, Mapping[str, Tensor]] = groups_of(content, ("G_EMA_state_dict", "C_EMA_state_dict"), source)
    generator_config, weights = tunit.read_generator(groups["G_EMA_state_dict"])
    generator = load_weights(tunit.TUNITGenerator(generator_config), weights, f"{source} (G_EMA_state_dict)")
    guiding_config, weights = tunit.read_guiding_network(groups["C_EMA_state_dict"])
    guiding_network = load_weights(tunit.GuidingNetwork(guiding_config), weights, f"{source} (C_EMA_state_dict)")
    return generator, guiding_network
