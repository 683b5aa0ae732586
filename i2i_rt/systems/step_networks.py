"""StEP's networks with fresh weights, as the official code draws them: for StEP's stages and for its baselines."""

from torch import nn

from i2i_rt.errors import I2IError
from i2i_rt.models.equalised import equalise
from i2i_rt.models.step import (
    EncoderBlock,
    ResidualBlock,
    StepDiscriminator,
    StepDiscriminatorConfig,
    StepEncoder,
    StepEncoderConfig,
    StepGenerator,
    StepGeneratorConfig,
)
from i2i_rt.systems.base import Shape

MULTIPLE = 16  # the style encoder halves an image four times


def draw(network: nn.Module) -> None:
    """Draws a network's weights, in place.

    Convolutions are equalised, with the gain of a leaky ReLU except in residual blocks, which have a gain of one;
    linear layers are drawn from N(0, 0.02), and biases are zero.
    """
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock | EncoderBlock)]
    inside = {part for block in blocks for part in block.modules()}
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d):
            equalise(module, slope=1.0 if module in inside else 0.2)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02)
            nn.init.zeros_(module.bias)


def build_style_encoder(shape: Shape, style_size: int) -> StepEncoder:
    """Makes the style encoder, at the generator's width 32 with the paper's channels.

    Raises:
        I2IError: where crops cannot be halved as often as it does.
    """
    if shape.crop_size % MULTIPLE:
        raise I2IError(
            f"the crop size is {shape.crop_size}; StEP's style encoder halves images four times: give a multiple of "
            f"{MULTIPLE} with --crop-size"
        )
    widths = tuple(2 * shape.width * times for times in (1, 2, 3, 4))
    encoder = StepEncoder(StepEncoderConfig(style_size=style_size, widths=widths))
    draw(encoder)
    return encoder


def build_generator(shape: Shape, style_size: int) -> StepGenerator:
    """Makes the generator, with as many residual blocks in its encoder as in its decoder."""
    config = StepGeneratorConfig(
        style_size=style_size, width=shape.width, encoder_blocks=shape.blocks, decoder_blocks=shape.blocks
    )
    generator = StepGenerator(config)
    draw(generator)
    return generator


def build_discriminator(shape: Shape) -> StepDiscriminator:
    """Makes the discriminator of images with their condition.

    It has the paper's three scales where the smallest still has several patches: for crops of 64 pixels and more.
    """
    width = shape.discriminator_width
    widths = (width, 2 * width, 4 * width, 8 * width)
    discriminator = StepDiscriminator(StepDiscriminatorConfig(scales=3 if shape.crop_size >= 64 else 2, widths=widths))
    draw(discriminator)
    return discriminator
