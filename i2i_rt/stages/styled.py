"""Modules that the stages of several systems with styles share."""

from torch import Tensor, nn

from i2i_rt.stages.base import to_frames, to_image


class TranslateStyled(nn.Module):
    """Frames `[N, H, W, 3]` uint8 and styles `[N, S]` float32 to translated frames of the same shape."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, frames: Tensor, style: Tensor) -> Tensor:
        return to_frames(self.generator(to_image(frames, self.generator), style))


class StyleFromImage(nn.Module):
    """Frames `[N, H, W, 3]` uint8 to their styles `[N, S]` float32."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, reference: Tensor) -> Tensor:
        style: Tensor = self.encoder(to_image(reference, self.encoder))
        return style.float()


class StyleFromNoise(nn.Module):
    """Noise `[N, Z]` float32 from N(0, 1) to styles `[N, S]` float32."""

    def __init__(self, sampler: nn.Module) -> None:
        super().__init__()
        self.sampler = sampler

    def forward(self, noise: Tensor) -> Tensor:
        style: Tensor = self.sampler(noise.to(next(self.sampler.parameters()).dtype))
        return style.float()
