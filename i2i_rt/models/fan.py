"""The face alignment network, and the masks that StarGAN v2 makes of its heat maps.

The network is the stacked hourglass of Wang et al. 2019, "Adaptive Wing Loss" (arXiv:1904.07399), with one hourglass:
heat maps of 98 landmarks in WFLW's order (Wu et al. 2018). StarGAN v2 (Choi et al. 2020, appendix E) keeps with them
the parts of a face that a translation must not move.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from i2i_rt.errors import CheckpointError, I2IError
from i2i_rt.models.norm import RunningNorm

SIDE = 256  # of the images that the network sees
LANDMARKS = 98

# Landmarks, rows that their heat moves up (of 256), and the power that narrows it. Landmarks that no group names are
# left out of the masks: the upper ends of the face line, and points that lie on another part's border.
GROUPS = (
    ((*range(8, 25),), 0, 3),  # chin
    ((*range(34, 46), *range(47, 51)), -7, 2),  # eyebrows
    ((51,), 0, 1),  # bridge of the nose
    ((52, 53, 54), 4, 1),
    ((55, 56, 57, 58, 59), 8, 4),  # nostrils
    ((77, 78, 79, 80, 81), -8, 4),  # upper lip
    ((83, 84, 85, 86, 87), 8, 4),  # lower lip
    ((*range(88, 96),), -2, 3),  # inner lips
    ((96, 97), 0, 1),  # pupils
)
INNER = (51, 52, 55, 96)  # first landmarks of the groups that the second mask keeps, beside the eyes
EYES = tuple(range(60, 76))


@dataclass(frozen=True)
class FaceAlignmentConfig:
    """Rebuilds a `FaceAlignment`, together with its weights."""

    width: int = 256
    depth: int = 4  # reductions of the hourglass

    def __post_init__(self) -> None:
        if self.width < 4 or self.width % 4 or self.depth < 1:
            raise I2IError(f"width is {self.width} and depth {self.depth}; needed are a multiple of 4 and at least 1")


class ConcatBlock(nn.Module):
    """Three convolutions one after another whose outputs are concatenated: `[N, I, H, W]` to `[N, O, H, W]`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        widths = [in_channels, out_channels // 2, out_channels // 4, out_channels // 4]
        self.norms = nn.ModuleList(RunningNorm(width) for width in widths[:3])
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in pairwise(widths))
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(
                RunningNorm(in_channels), nn.ReLU(), nn.Conv2d(in_channels, out_channels, 1, bias=False)
            )

    def forward(self, x: Tensor) -> Tensor:
        parts = []
        part = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            part = conv(functional.relu(norm(part)))
            parts.append(part)
        result: Tensor = torch.cat(parts, 1) + self.shortcut(x)
        return result


class HourglassLevel(nn.Module):
    """One size of the hourglass: what stays at it, and what goes through half of it."""

    def __init__(self, width: int, inside: nn.Module) -> None:
        super().__init__()
        self.beside, self.before, self.after = (ConcatBlock(width, width) for _ in range(3))
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        low = self.after(self.inside(self.before(functional.avg_pool2d(x, 2))))
        result: Tensor = self.beside(x) + functional.interpolate(low, scale_factor=2.0, mode="nearest")
        return result


def coordinates(side: int) -> Tensor:
    """Gives `[1, 3, side, side]`: rows and columns in [-1, 1], and the distance from the middle in [0, 1]."""
    line = torch.linspace(-1, 1, side)
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    radius = torch.sqrt(rows**2 + columns**2)
    return torch.stack([rows, columns, radius / radius.max()])[None]


class FaceAlignment(nn.Module):
    """Finds heat maps `[N, 98, 64, 64]` of a face's landmarks in images `[N, 3, H, W]` in [-1, 1]."""

    def __init__(self, config: FaceAlignmentConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.stem = nn.Conv2d(6, width // 4, 7, 2, 3)
        self.stem_norm = RunningNorm(width // 4)
        self.blocks = nn.ModuleList(
            [ConcatBlock(width // 4, width // 2), ConcatBlock(width // 2, width // 2), ConcatBlock(width // 2, width)]
        )
        self.mix = nn.Conv2d(width + 3, width, 1)
        hourglass: nn.Module = ConcatBlock(width, width)
        for _ in range(config.depth):
            hourglass = HourglassLevel(width, hourglass)
        self.hourglass = hourglass
        self.top = ConcatBlock(width, width)
        self.last = nn.Conv2d(width, width, 1)
        self.last_norm = RunningNorm(width)
        self.head = nn.Conv2d(width, LANDMARKS + 1, 1)  # and the border of the face, which nothing here reads
        self.image_coordinates: Tensor
        self.feature_coordinates: Tensor
        self.register_buffer("image_coordinates", coordinates(SIDE), persistent=False)
        self.register_buffer("feature_coordinates", coordinates(SIDE // 4), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        if image.shape[2:] != (SIDE, SIDE):
            image = functional.interpolate(image, (SIDE, SIDE), mode="bilinear", align_corners=False)
        x = torch.cat([image * 0.5 + 0.5, self.image_coordinates.expand(image.shape[0], -1, -1, -1)], 1)
        x = functional.relu(self.stem_norm(self.stem(x)))
        x = functional.avg_pool2d(self.blocks[0](x), 2)
        x = self.blocks[2](self.blocks[1](x))
        x = self.mix(torch.cat([x, self.feature_coordinates.expand(x.shape[0], -1, -1, -1)], 1))
        x = self.last(self.top(self.hourglass(x)))
        heatmaps: Tensor = self.head(functional.relu(self.last_norm(x)))
        return heatmaps[:, :LANDMARKS]


def masks_of(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Makes of heat maps `[N, 98, h, w]` two masks `[N, 1, 4 * h, 4 * w]` in [0, 1], in float32.

    The first keeps all parts of the face, the second only the nose and the eyes. Heat below 0.1 counts as none, and
    each landmark's heat is stretched to [0, 1].
    """
    heat = functional.interpolate(heatmaps.float(), scale_factor=4.0, mode="bilinear", align_corners=True)
    heat = torch.where(heat < 0.1, 0.0, heat)
    low, high = heat.amin((2, 3), keepdim=True), heat.amax((2, 3), keepdim=True)
    heat = (heat - low) / (high - low + 1e-6)
    unit = heat.shape[2] // 256
    first = second = _moved(_narrowed(heat, EYES, 3), -8) + _moved(_narrowed(heat, EYES, 1), -24)
    for landmarks, rows, power in GROUPS:
        part = _moved(_narrowed(heat, landmarks, power), rows * unit)
        first = first + part
        if landmarks[0] in INNER:
            second = second + part
    return first.clamp(0, 1), second.clamp(0, 1)


def _narrowed(heat: Tensor, landmarks: tuple[int, ...], power: int) -> Tensor:
    """Sums powers of some landmarks' heat: `[N, 1, H, W]`."""
    parts = heat[:, landmarks[0] : landmarks[-1] + 1]
    if len(landmarks) != landmarks[-1] - landmarks[0] + 1:
        parts = torch.cat([heat[:, landmark : landmark + 1] for landmark in landmarks], 1)
    return (parts**power).sum(1, keepdim=True)


def _moved(heat: Tensor, rows: int) -> Tensor:
    """Moves heat up by some rows; what leaves the picture comes back at the other side."""
    return torch.roll(heat, -rows, 2) if rows else heat


def read_official(state: Mapping[str, Tensor]) -> tuple[FaceAlignmentConfig, dict[str, Tensor]]:
    """Finds the config in an official state dict's keys and shapes; further hourglasses of the original are left out.

    Raises:
        CheckpointError: where it is no such network.
    """
    if "conv1.conv.weight" not in state or "conv_last0.weight" not in state:
        raise CheckpointError("this is no face alignment network: it lacks 'conv1.conv.weight' or 'conv_last0.weight'")
    depth = max((int(match[1]) for key in state if (match := re.match(r"m0\.b1_(\d+)\.", key))), default=0)
    config = FaceAlignmentConfig(state["conv_last0.weight"].shape[0], depth)
    names = {
        "conv1.conv.": "stem.",
        "bn1.": "stem_norm.",
        "conv2.": "blocks.0.",
        "conv3.": "blocks.1.",
        "conv4.": "blocks.2.",
        "m0.coordconv.conv.": "mix.",
        "m0.b2_plus_1.": "hourglass." + "inside." * depth,
        "top_m_0.": "top.",
        "conv_last0.": "last.",
        "bn_end0.": "last_norm.",
        "l0.": "head.",
    }
    for level in range(1, depth + 1):
        path = "hourglass." + "inside." * (depth - level)
        names |= {
            f"m0.b{part}_{level}.": f"{path}{name}." for part, name in enumerate(("beside", "before", "after"), 1)
        }
    weights = {}
    for key, tensor in state.items():
        start = next((start for start in names if key.startswith(start)), None)
        if start is not None:
            rest = key.removeprefix(start).replace("downsample.", "shortcut.")
            if key.startswith(("conv2.", "conv3.", "conv4.", "m0.b", "top_m_0.")):
                rest = re.sub(r"^(bn|conv)(\d)\.", _numbered, rest)
            weights[names[start] + rest] = tensor
    return config, weights


def _numbered(match: re.Match[str]) -> str:
    return f"{'norms' if match[1] == 'bn' else 'convs'}.{int(match[2]) - 1}."
