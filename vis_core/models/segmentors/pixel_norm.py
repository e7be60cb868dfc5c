"""Pixels as networks want them: standardised, with zeros where there is no image."""

import torch
from torch import Tensor, nn

# ImageNet statistics in [0, 255], RGB; detectron2's, CTVIS's and IDOL's.
_MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


class PixelNorm(nn.Module):
    """Standardises the pixels, then zeroes the padding (the authors' order)."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor, sizes: Tensor | None) -> Tensor:
        """Gives (F, 3, H, W) float pixels.

        Args:
            images: (F, 3, H, W) uint8 RGB, padded right and bottom.
            sizes: (F, 2) height and width before padding; None if nothing is padded.
        """
        pixels = (images.float() - self.mean) / self.std
        if sizes is None:
            return pixels
        return pixels * inside_of(sizes, images.shape[2], images.shape[3]).unsqueeze(1)


def inside_of(sizes: Tensor, height: int, width: int) -> Tensor:
    """Says which pixels (F, height, width) of padded frames are no padding.

    Args:
        sizes: (F, 2) height and width of each frame before padding.
        height: Of the padded frames.
        width: Of the padded frames.
    """
    rows = torch.arange(height, device=sizes.device) < sizes[:, :1]
    columns = torch.arange(width, device=sizes.device) < sizes[:, 1:]
    return rows[:, :, None] & columns[:, None, :]
