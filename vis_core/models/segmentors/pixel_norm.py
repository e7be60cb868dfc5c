"""Pixel normalisation: standardised values, with zeros in the padding."""

import torch
from torch import Tensor, nn

# ImageNet statistics in [0, 255], RGB (detectron2, CTVIS, IDOL).
_MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


class PixelNorm(nn.Module):
    """Pixel standardisation, then zeros in the padding, in the same order as in the releases."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor, sizes: Tensor | None) -> Tensor:
        """Standardises (F, 3, H, W) uint8 RGB frames; (F, 2) ``sizes`` is None without padding."""
        pixels = (images.float() - self.mean) / self.std
        return pixels if sizes is None else pixels * inside_of(sizes, *images.shape[2:])[:, None]


def inside_of(sizes: Tensor, height: int, width: int) -> Tensor:
    """Returns (F, height, width) bool: whether a pixel is inside the (F, 2) sizes, not padding."""
    rows = torch.arange(height, device=sizes.device) < sizes[:, :1]
    columns = torch.arange(width, device=sizes.device) < sizes[:, 1:]
    return rows[:, :, None] & columns[:, None, :]
