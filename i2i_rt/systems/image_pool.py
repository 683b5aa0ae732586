"""A history of generated images for discriminators (Shrivastava et al. 2017; section 3.2.4 of Park's thesis)."""

import torch
from torch import Tensor


class ImagePool:
    """Keeps up to `size` images; draws from torch's generator of the CPU."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[Tensor] = []

    def exchange(self, images: Tensor) -> Tensor:
        """Gives images to judge in place of new ones `[N, C, H, W]`.

        Until the pool is full these are the new ones. Then each, with probability one half, takes the place of a
        stored image, which is given instead.
        """
        chosen = []
        for image in images.detach():
            if len(self.images) < self.size:
                self.images.append(image.clone())
            elif torch.rand(()) < 0.5:
                place = int(torch.randint(self.size, ()))
                image, self.images[place] = self.images[place], image.clone()
            chosen.append(image)
        return torch.stack(chosen)
