"""PatchGAN discriminator (Isola et al. 2017, section 3.2.2): CycleGAN's, pix2pix's and CUT's antialiased one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from i2i_rt.models.norm import Norm, norm_layer
from i2i_rt.models.resample import BlurPool


@dataclass(frozen=True)
class PatchDiscriminatorConfig:
    """Rebuilds a `PatchDiscriminator`, together with its weights."""

    in_channels: int = 3  # 6 where the condition comes in front of the image
    width: int = 64
    reductions: int = 3  # 3 give a receptive field of 70x70 pixels
    norm: Norm = "instance"
    antialias: bool = False
    bias: bool = False  # also of the convolutions before batch norm, which makes it needless


class PatchDiscriminator(nn.Module):
    """Gives a raw score for each patch: `[N, C, H, W]` in [-1, 1] to `[N, 1, H', W']`."""

    def __init__(self, config: PatchDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        channels = config.in_channels
        for step in range(config.reductions + 1):
            wider = config.width * min(2**step, 8)
            reduces = step < config.reductions
            stride = 2 if reduces and not config.antialias else 1
            bias = step == 0 or config.norm == "instance" or config.bias
            layers.append(nn.Conv2d(channels, wider, 4, stride, 1, bias=bias))
            if step > 0:
                layers.append(norm_layer(config.norm, wider, "running"))
            layers.append(nn.LeakyReLU(0.2))
            if reduces and config.antialias:
                layers.append(BlurPool(wider))
            channels = wider
        layers.append(nn.Conv2d(channels, 1, 4, 1, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = self.layers(image)
        return scores


def read_official(state: Mapping[str, Tensor]) -> tuple[PatchDiscriminatorConfig, dict[str, Tensor]] | None:
    """Finds the config in an official state dict's keys and shapes; None where it is no PatchGAN."""
    convolutions = sorted(
        int(match[1]) for key in state if (match := re.fullmatch(r"model\.(\d+)\.weight", key)) and state[key].ndim == 4
    )
    if len(convolutions) < 3 or convolutions[0] != 0 or state["model.0.weight"].shape[2:] != (4, 4):
        return None
    norms = any(key.endswith(".weight") and tensor.ndim == 1 for key, tensor in state.items())
    config = PatchDiscriminatorConfig(
        in_channels=state["model.0.weight"].shape[1],
        width=state["model.0.weight"].shape[0],
        reductions=len(convolutions) - 2,
        norm="batch" if norms else "instance",
        antialias=convolutions[1] == 3,
    )
    unused = r".*\.filt" if norms else r".*\.(filt|running_mean|running_var|num_batches_tracked)"
    weights = {
        key.replace("model.", "layers.", 1): tensor for key, tensor in state.items() if not re.fullmatch(unused, key)
    }
    return config, weights
