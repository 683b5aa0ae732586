"""Face recognition network of identity losses and metrics: IR-SE50 (ArcFace, Deng et al. 2019, arXiv:1801.07698).

A residual network with squeeze and excitation (Hu et al. 2018, arXiv:1709.01507) in every block. The Smoothing paper
and GP-UNIT compare a face before and after the translation by the cosine of the two embeddings.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import I2IError

FRAME = 256  # side of the images that the faces are cut from
ROWS, COLUMNS = slice(35, 223), slice(32, 220)  # where an aligned face lies in them
FACE = 112  # side of what the network sees


@dataclass(frozen=True)
class ArcFaceConfig:
    """Rebuilds an `ArcFace`, together with its weights."""

    width: int = 64  # channels of the first stage; doubled from stage to stage
    blocks: tuple[int, ...] = (3, 4, 14, 3)  # of each stage, whose first block halves the size
    reduction: int = 16  # channels to one that squeeze and excitation sees; 0: there is none
    embedding: int = 512

    def __post_init__(self) -> None:
        if self.width < 1 or self.embedding < 1 or not self.blocks or min(self.blocks) < 1 or self.reduction < 0:
            raise I2IError("width, embedding and the blocks of every stage of an ArcFace network must be at least 1")


class Excitation(nn.Module):
    """Weighs each channel by what its mean and those of all others say."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.excite = nn.Conv2d(channels // reduction, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        means = functional.relu(self.squeeze(x.mean((2, 3), keepdim=True)))
        weighed: Tensor = x * self.excite(means).sigmoid()
        return weighed


class FaceBlock(nn.Module):
    """Batch norm, two 3x3 convolutions, batch norm; the shortcut takes every `stride`-th pixel."""

    def __init__(self, channels: int, after: int, stride: int, reduction: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, after, 3, padding=1, bias=False),
            nn.PReLU(after),
            nn.Conv2d(after, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
        ]
        if reduction:
            layers.append(Excitation(after, reduction))
        self.layers = nn.Sequential(*layers)
        self.stride = stride
        self.shortcut = nn.Sequential()
        if channels != after:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, after, 1, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x) + self.shortcut(x[:, :, :: self.stride, :: self.stride])
        return result


class ArcFace(nn.Module):
    """Aligned faces `[N, 3, H, W]` in [-1, 1] to embeddings `[N, 512]` of length 1."""

    def __init__(self, config: ArcFaceConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.head = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width))
        blocks, channels = [], width
        for stage, count in enumerate(config.blocks):
            for index in range(count):
                after = width << stage
                blocks.append(FaceBlock(channels, after, 1 if index else 2, config.reduction))
                channels = after
        self.blocks = nn.Sequential(*blocks)
        side = -(-FACE // (1 << len(config.blocks)))
        self.norm = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels * side * side, config.embedding)
        self.embedding_norm = nn.BatchNorm1d(config.embedding)

    def forward(self, image: Tensor) -> Tensor:
        """Gives the embeddings; the cosine of two is the sum of their product, and the identity loss 1 minus it."""
        found = self.norm(self.features(image)).flatten(1)
        return functional.normalize(self.embedding_norm(self.linear(found)))

    def features(self, image: Tensor) -> Tensor:
        """Gives the last blocks' feature `[N, 512, 7, 7]`; images of other sizes are first brought to 256x256."""
        if image.shape[2:] != (FRAME, FRAME):
            image = functional.adaptive_avg_pool2d(image, FRAME)
        face = functional.adaptive_avg_pool2d(image[:, :, ROWS, COLUMNS], FACE)
        result: Tensor = self.blocks(self.head(face))
        return result


def read_official(state: Mapping[str, Tensor]) -> tuple[ArcFaceConfig, dict[str, Tensor]]:
    """Finds the config of a `model_ir_se50.pth` in its keys and shapes, and its weights under our names."""
    numbers = sorted({int(match[1]) for key in state if (match := re.match(r"body\.(\d+)\.", key))})
    channels = [state[f"body.{number}.res_layer.1.weight"].shape[0] for number in numbers]
    squeezed = state.get("body.0.res_layer.5.fc1.weight")
    config = ArcFaceConfig(
        width=state["input_layer.0.weight"].shape[0],
        blocks=tuple(channels.count(count) for count in sorted(set(channels))),
        reduction=0 if squeezed is None else squeezed.shape[1] // squeezed.shape[0],
        embedding=state["output_layer.3.weight"].shape[0],
    )
    names = {
        r"^input_layer\.": "head.",
        r"^output_layer\.0\.": "norm.",
        r"^output_layer\.3\.": "linear.",
        r"^output_layer\.4\.": "embedding_norm.",
        r"^body\.": "blocks.",
        r"\.res_layer\.": ".layers.",
        r"\.shortcut_layer\.": ".shortcut.",
        r"\.fc1\.": ".squeeze.",
        r"\.fc2\.": ".excite.",
    }
    weights = {}
    for key, tensor in state.items():
        own = key
        for official, name in names.items():
            own = re.sub(official, name, own)
        weights[own] = tensor
    return config, weights
