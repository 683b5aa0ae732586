"""What every stage is made of: its description, its module, and the way between uint8 frames and the networks."""

from dataclasses import dataclass

from torch import Tensor, nn

from i2i_rt.kernels import frame_in, frame_out
from i2i_rt.spec import Axis, StageSpec, TensorSpec


@dataclass(frozen=True)
class Stage:
    """A graph: what it takes and gives, and the module that computes it."""

    spec: StageSpec
    module: nn.Module


def to_image(frames: Tensor, network: nn.Module) -> Tensor:
    """Gives frames `[N, H, W, 3]` uint8 as images `[N, 3, H, W]` in [-1, 1], in the dtype of the network."""
    return frame_in(frames, next(network.parameters()).dtype)


def to_frames(image: Tensor) -> Tensor:
    """Gives images `[N, 3, H, W]` in [-1, 1] as frames `[N, H, W, 3]` uint8."""
    return frame_out(image)


def square_frames_spec(name: str, side: int) -> TensorSpec:
    """Describes RGB frames `[N, side, side, 3]`, uint8, of a network that takes no other size."""
    return TensorSpec(name, "uint8", (Axis("N"), Axis("H", size=side), Axis("W", size=side), Axis("C", size=3)))


def vector_spec(name: str, size: int, dtype: str = "float32") -> TensorSpec:
    """Describes one vector per frame, `[N, size]`: a style code, say, or the noise that it is drawn from."""
    return TensorSpec(name, dtype, (Axis("N"), Axis(name, size=size)))


def domain_spec(name: str = "domain") -> TensorSpec:
    """Describes the index of a domain per frame, `[N]` int64."""
    return TensorSpec(name, "int64", (Axis("N"),))
