"""Masks between the sizes of a network and the sizes of an image."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

# Masks that are resized at once: keeps the floats of a frame with many instances small.
MASKS_AT_ONCE = 8


@dataclass(frozen=True)
class InputSize:
    """Is how an image becomes the input of a network: resized, then padded right and bottom.

    Attributes:
        resized_height: Pixels.
        resized_width: Pixels.
        padded_height: Pixels, at least ``resized_height``.
        padded_width: Pixels, at least ``resized_width``.
    """

    resized_height: int
    resized_width: int
    padded_height: int
    padded_width: int


def full_size_masks(
    mask_logits: Tensor,
    input_size: InputSize,
    image_size: tuple[int, int],
    last_resize: Literal["bilinear", "nearest"] = "bilinear",
) -> Tensor:
    """Brings raw masks to the pixels of the image: up to the padded input, crop, resize, > 0.

    The resizes are bilinear without aligned corners, as the segmentors were trained.

    Args:
        mask_logits: (N, h, w) raw masks that cover the padded input.
        input_size: How the image was resized and padded.
        image_size: Height and width of the image.
        last_resize: How the masks of the resized image come to its own size; released IDOL takes
            the nearest pixel.

    Returns:
        (N, H, W) bool.
    """
    groups = [
        _resize(_input_logits(group, input_size), image_size, last_resize) > 0
        for group in torch.split(mask_logits, MASKS_AT_ONCE)
        if len(group) > 0
    ]
    if not groups:
        return torch.zeros((0, *image_size), dtype=torch.bool, device=mask_logits.device)
    return torch.cat(groups)


def _input_logits(mask_logits: Tensor, input_size: InputSize) -> Tensor:
    """(N, h, w) logits of the padded input at the pixels of the resized image."""
    padded = _resize(mask_logits, (input_size.padded_height, input_size.padded_width))
    return padded[:, : input_size.resized_height, : input_size.resized_width]


def _resize(
    maps: Tensor, size: tuple[int, int], mode: Literal["bilinear", "nearest"] = "bilinear"
) -> Tensor:
    """(N, H, W) float maps from (N, h, w)."""
    if maps.shape[1:] == size:
        return maps
    if mode == "nearest":
        return interpolate(maps[:, None].float(), size=size, mode="nearest")[:, 0]
    return interpolate(maps[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0]
