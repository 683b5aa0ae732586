"""What every stage is made of: its description, its module, and the way between uint8 frames and the networks."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from i2i_rt.spec import Axis, StageSpec, TensorSpec


@dataclass(frozen=True)
class Stage:
    """A graph: what it takes and gives, and the module that computes it."""

    spec: StageSpec
    module: nn.Module


def to_image(frames: Tensor, network: nn.Module) -> Tensor:
    """Gives frames `[N, H, W, 3]` uint8 as images `[N, 3, H, W]` in [-1, 1], in the dtype of the network."""
    dtype = next(network.parameters()).dtype
    return (frames.permute(0, 3, 1, 2).float() / 127.5 - 1).to(dtype)


def to_frames(image: Tensor) -> Tensor:
    """Gives images `[N, 3, H, W]` in [-1, 1] as frames `[N, H, W, 3]` uint8, rounded to the nearest level.

    The official test scripts truncate instead, which makes their pictures half a level darker on average.
    """
    levels: Tensor = ((image.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1)


def square_frames_spec(name: str, side: int) -> TensorSpec:
    """Describes RGB frames `[N, side, side, 3]`, uint8, of a network that takes no other size."""
    return TensorSpec(name, "uint8", (Axis("N"), Axis("H", size=side), Axis("W", size=side), Axis("C", size=3)))


def vector_spec(name: str, size: int, dtype: str = "float32") -> TensorSpec:
    """Describes one vector per frame, `[N, size]`: a style code, say, or the noise that it is drawn from."""
    return TensorSpec(name, dtype, (Axis("N"), Axis(name, size=size)))


def domain_spec(name: str = "domain") -> TensorSpec:
    """Describes the index of a domain per frame, `[N]` int64."""
    return TensorSpec(name, "int64", (Axis("N"),))
