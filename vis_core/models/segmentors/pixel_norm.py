"""Normalisation of pixels: standardised, with zeros in the padding."""

import torch
from torch import Tensor, nn

# ImageNet statistics in [0, 255], RGB (detectron2, CTVIS, IDOL).
_MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


class PixelNorm(nn.Module):
    """Standardisation of pixels, then zeros for the padding (the order of the releases)."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor, sizes: Tensor | None) -> Tensor:
        """Returns (F, 3, H, W) float pixels.

        Args:
            images: (F, 3, H, W) uint8 RGB, padded right and bottom.
            sizes: (F, 2) height and width before padding; None if nothing is padded.
        """
        pixels = (images.float() - self.mean) / self.std
        if sizes is None:
            return pixels
        return pixels * inside_of(sizes, images.shape[2], images.shape[3]).unsqueeze(1)


def inside_of(sizes: Tensor, height: int, width: int) -> Tensor:
    """Returns (F, height, width) bool: the pixels of padded frames that are not padding.

    Args:
        sizes: (F, 2) height and width of each frame before padding.
        height: Height of the padded frames.
        width: Width of the padded frames.
    """
    rows = torch.arange(height, device=sizes.device) < sizes[:, :1]
    columns = torch.arange(width, device=sizes.device) < sizes[:, 1:]
    return rows[:, :, None] & columns[:, None, :]
