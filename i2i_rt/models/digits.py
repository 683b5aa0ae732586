"""The digit classifiers of CyCADA (Hoffman et al. 2018, arXiv:1711.03213, section 4.1): LeNet and DTN.

They judge translated digits. Both take images in [-1, 1] of one fixed size and give a score for each class.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import CheckpointError, I2IError


@dataclass(frozen=True)
class LeNetConfig:
    """Rebuilds a `LeNet`, together with its weights."""

    in_channels: int = 1
    classes: int = 10
    widths: tuple[int, ...] = (20, 50)  # after each convolution
    features: int = 500

    def __post_init__(self) -> None:
        _check(len(self.widths) == 2, self.classes)


class LeNet(nn.Module):
    """Scores `[N, classes]` of images `[N, in_channels, 28, 28]` in [-1, 1]: MNIST and USPS."""

    side = 28

    def __init__(self, config: LeNetConfig) -> None:
        super().__init__()
        self.config = config
        first, second = config.widths
        self.convolutions = nn.ModuleList([nn.Conv2d(config.in_channels, first, 5), nn.Conv2d(first, second, 5)])
        self.hidden = nn.Linear(16 * second, config.features)
        self.last = nn.Linear(config.features, config.classes)

    def features(self, image: Tensor) -> Tensor:
        """Gives `[N, features]`, before their activation."""
        x = image
        for layer in self.convolutions:
            x = functional.relu(functional.max_pool2d(layer(x), 2))
        result: Tensor = self.hidden(x.flatten(1))
        return result

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.last(functional.relu(self.features(image)))
        return result


@dataclass(frozen=True)
class DTNConfig:
    """Rebuilds a `DTN`, together with its weights."""

    in_channels: int = 3
    classes: int = 10
    widths: tuple[int, ...] = (64, 128, 256)  # after each convolution
    features: int = 512

    def __post_init__(self) -> None:
        _check(len(self.widths) == 3, self.classes)


class DTN(nn.Module):
    """Scores `[N, classes]` of images `[N, in_channels, 32, 32]` in [-1, 1]: from SVHN to MNIST."""

    side = 32

    def __init__(self, config: DTNConfig) -> None:
        super().__init__()
        self.config = config
        inputs = (config.in_channels, *config.widths)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 5, 2, 2) for before, after in zip(inputs, config.widths, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in config.widths)
        self.hidden = nn.Linear(16 * config.widths[-1], config.features)
        self.hidden_norm = nn.BatchNorm1d(config.features)
        self.last = nn.Linear(config.features, config.classes)

    def features(self, image: Tensor) -> Tensor:
        """Gives `[N, features]`, normalised, before their activation."""
        x = image
        for layer, norm in zip(self.convolutions, self.norms, strict=True):
            x = functional.relu(norm(layer(x)))
        result: Tensor = self.hidden_norm(self.hidden(x.flatten(1)))
        return result

    def forward(self, image: Tensor) -> Tensor:
        result: Tensor = self.last(functional.relu(self.features(image)))
        return result


def _check(known: bool, classes: int) -> None:
    if not known:
        raise I2IError("LeNet has 2 convolutions and DTN 3; give a width for each")
    if not 1 <= classes <= 256:
        raise I2IError(f"classes is {classes}; it must be between 1 and 256")


def read_official_lenet(state: Mapping[str, Tensor]) -> tuple[LeNetConfig, dict[str, Tensor]] | None:
    """Finds the config in an official state dict's keys and shapes; None where it is no LeNet."""
    if not any(key.startswith(("conv_params.3.", "fc_params.weight")) for key in state):
        return None
    numbers = {"0": 0, "3": 1}
    weights = {}
    for key, tensor in state.items():
        key = re.sub(r"^conv_params\.(0|3)\.", lambda match: f"convolutions.{numbers[match[1]]}.", key)
        key = re.sub(r"^fc_params\.(?!\d)", "hidden.", key)
        weights[key.replace("classifier.2.", "last.", 1)] = tensor
    _require(state, ("conv_params.0.weight", "conv_params.3.weight", "fc_params.weight", "classifier.2.weight"))
    first, second = weights["convolutions.0.weight"], weights["convolutions.1.weight"]
    last = weights["last.weight"]
    return LeNetConfig(first.shape[1], last.shape[0], (first.shape[0], second.shape[0]), last.shape[1]), weights


def read_official_dtn(state: Mapping[str, Tensor]) -> tuple[DTNConfig, dict[str, Tensor]] | None:
    """Finds the config in an official state dict's keys and shapes; None where it is no DTN."""
    if not any(key.startswith(("conv_params.8.", "fc_params.0.")) for key in state):
        return None
    numbers = {"0": "convolutions.0", "1": "norms.0", "4": "convolutions.1", "5": "norms.1"}
    numbers |= {"8": "convolutions.2", "9": "norms.2"}
    weights = {}
    for key, tensor in state.items():
        key = re.sub(r"^conv_params\.(\d+)\.", lambda match: f"{numbers.get(match[1], match[0])}.", key)
        key = key.replace("fc_params.0.", "hidden.", 1).replace("fc_params.1.", "hidden_norm.", 1)
        weights[key.replace("classifier.2.", "last.", 1)] = tensor
    needed = ("conv_params.0.weight", "conv_params.4.weight", "conv_params.8.weight", "classifier.2.weight")
    _require(state, needed)
    widths = tuple(weights[f"convolutions.{index}.weight"].shape[0] for index in range(3))
    last = weights["last.weight"]
    return DTNConfig(weights["convolutions.0.weight"].shape[1], last.shape[0], widths, last.shape[1]), weights


def _require(state: Mapping[str, Tensor], keys: tuple[str, ...]) -> None:
    for key in keys:
        if key not in state:
            raise CheckpointError(f"the digit classifier is not complete: {key!r} is missing")
