"""The stage of UNIT: one domain's encoder, the other's decoder."""

from collections.abc import Mapping

from torch import Tensor, nn

from i2i_rt.stages.base import Stage, to_frames, to_image
from i2i_rt.stages.single import translate_spec


class Translate(nn.Module):
    """Frames `[N, H, W, 3]` uint8 to translated frames of the same shape."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, frames: Tensor) -> Tensor:
        return to_frames(self.decoder(self.encoder(to_image(frames, self.encoder))))


def stages(networks: Mapping[str, nn.Module]) -> list[Stage]:
    """Gives the stage of the networks `encoder` and `decoder` of one direction, of either official code."""
    encoder = networks["encoder"]
    return [Stage(translate_spec(encoder), Translate(encoder, networks["decoder"]).eval())]
