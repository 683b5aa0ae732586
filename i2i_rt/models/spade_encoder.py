"""The image encoder of SPADE's VAE (Park et al. 2019, arXiv:1903.07291, section 3 and figure 14)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.kernels import norm_act
from i2i_rt.models.spectral import fold_spectral_norm

SIDE = 256  # of the picture that the linear layers are made for
WIDTHS = (1, 2, 4, 8, 8, 8)


@dataclass(frozen=True)
class SpadeEncoderConfig:
    """Rebuilds a `SpadeEncoder`, together with its weights."""

    width: int = 64
    style: int = 256

    def __post_init__(self) -> None:
        if self.width < 1 or self.style < 1:
            raise I2IError(f"width is {self.width} and style {self.style}; both must be at least 1")


class SpadeEncoder(nn.Module):
    """Gives the mean and the logarithm of the variance of a picture's style, `[N, Z]` each.

    Takes pictures `[N, 3, H, W]` in [-1, 1] of any size and brings them to 256x256, bilinear, as the official code.
    """

    def __init__(self, config: SpadeEncoderConfig) -> None:
        super().__init__()
        self.config = config
        widths = [3, *(width * config.width for width in WIDTHS)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, 2, 1, bias=False) for before, after in pairwise(widths)
        )
        positions = (SIDE // 2 ** len(WIDTHS)) ** 2
        self.mean = nn.Linear(widths[-1] * positions, config.style)
        self.log_variance = nn.Linear(widths[-1] * positions, config.style)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        resized = functional.interpolate(image.float(), size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        x = resized.to(image.dtype)
        for convolution in self.convolutions:
            x = norm_act(convolution(x), slope=0.2)
        x = x.flatten(1)
        return self.mean(x), self.log_variance(x)


def read_official(state: Mapping[str, Tensor]) -> tuple[SpadeEncoderConfig, dict[str, Tensor]] | None:
    """Finds the config in an official encoder's keys and shapes, with spectral norm divided out; None where it is none.

    Raises:
        CheckpointError: where the first layer is missing.
    """
    if "fc_mu.weight" not in state or "fc_var.weight" not in state:
        return None
    weights = {_own_key(key): tensor for key, tensor in fold_spectral_norm(state).items()}
    if "convolutions.0.weight" not in weights:
        raise CheckpointError("this SPADE encoder is not complete: layer1.0.weight_orig is missing")
    config = SpadeEncoderConfig(width=weights["convolutions.0.weight"].shape[0], style=state["fc_mu.weight"].shape[0])
    return config, weights


def _own_key(key: str) -> str:
    key = re.sub(r"^layer(\d)\.0\.", lambda match: f"convolutions.{int(match[1]) - 1}.", key)
    return key.replace("fc_mu.", "mean.").replace("fc_var.", "log_variance.")
