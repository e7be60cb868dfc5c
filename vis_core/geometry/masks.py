"""Masks at image size, computed from a network's mask logits; mask boundaries."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from vis_core.geometry.sparse_resize import BoxMask, boxes_above, resized_boxes

Resize = Literal["bilinear", "nearest"]
Upsampling = Literal["logits", "aligned_probabilities"]

# Masks resized at once; limits float memory for frames with many instances.
MASKS_AT_ONCE = 8


@dataclass(frozen=True)
class InputSize:
    """An image's size in pixels as network input: resized, then padded on the right and bottom.

    ``upsampling`` selects whether masks are enlarged to the padded input as logits or, with aligned
    corners, as probabilities (CondInst).
    """

    resized_height: int
    resized_width: int
    padded_height: int
    padded_width: int
    upsampling: Upsampling = "logits"

    @property
    def resized_size(self) -> tuple[int, int]:
        """Height and width before padding."""
        return self.resized_height, self.resized_width


def full_size_masks(
    mask_logits: Tensor,
    input_size: InputSize,
    image_size: tuple[int, int],
    last_resize: Resize = "bilinear",
) -> Tensor:
    """Returns masks at image size: logits are enlarged, cropped, resized and thresholded.

    The masks are (N, H, W) bool. The (N, h, w) logits cover the padded input and are resized
    bilinearly without aligned corners, as in segmentor training; CondInst enlarges probabilities
    with aligned corners. The last resize is from the resized to the original image; the IDOL
    release takes the nearest pixel.
    """
    groups = _image_masks(mask_logits, input_size, image_size, last_resize, with_sums=False)
    return _concatenated([masks for masks, _ in groups], mask_logits, image_size)


def masks_with_confidence(
    mask_logits: Tensor,
    input_size: InputSize,
    image_size: tuple[int, int],
    last_resize: Resize = "bilinear",
) -> tuple[Tensor, Tensor]:
    """Returns the masks of ``full_size_masks`` and their (N,) float32 confidences.

    A confidence is the sum of sigmoid(logit) over the mask's pixels.
    """
    masks, confidences = [], [torch.zeros(0, device=mask_logits.device)]
    groups = _image_masks(mask_logits, input_size, image_size, last_resize, with_sums=True)
    for inside, sums in groups:
        masks.append(inside)
        confidences.append(sums)
    return _concatenated(masks, mask_logits, image_size), torch.cat(confidences)


def boxed_masks(
    mask_logits: Tensor, input_size: InputSize, image_size: tuple[int, int]
) -> list[BoxMask | None] | None:
    """Returns the bilinear masks of ``full_size_masks`` as boxes, with None for an empty mask.

    Returns None instead of a list if boxes would not save time: for masks on a GPU, or at image
    size already before the last resize.
    """
    if mask_logits.device.type != "cpu" or input_size.resized_size == image_size:
        return None
    boxes: list[BoxMask | None] = []
    for group in torch.split(mask_logits, MASKS_AT_ONCE):
        if len(group):
            maps, threshold = _input_maps(group, input_size)
            boxes += boxes_above(maps.float().numpy(), image_size, threshold)
    return boxes


def _image_masks(
    mask_logits: Tensor,
    input_size: InputSize,
    image_size: tuple[int, int],
    last_resize: Resize,
    *,
    with_sums: bool,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields (n, H, W) masks of a few instances and their (n,) probability sums or zeros."""
    for group in torch.split(mask_logits, MASKS_AT_ONCE):
        if len(group) == 0:
            continue
        maps, threshold = _input_maps(group, input_size)
        in_boxes = maps.device.type == "cpu" and last_resize == "bilinear"
        if in_boxes and maps.shape[1:] != image_size:
            yield _masks_in_boxes(maps, image_size, threshold, with_sums=with_sums)
            continue
        maps = _resize(maps, image_size, last_resize)
        inside = maps > threshold
        sums = (
            (_probabilities(maps, threshold) * inside).sum(dim=(1, 2))
            if with_sums
            else maps.new_zeros(len(maps))
        )
        yield inside, sums


def _masks_in_boxes(
    maps: Tensor, size: tuple[int, int], threshold: float, *, with_sums: bool
) -> tuple[Tensor, Tensor]:
    """Computes ``_image_masks`` on the CPU, resizing (n, h, w) maps only within boxes."""
    inside = torch.zeros((len(maps), *size), dtype=torch.bool)
    sums = torch.zeros(len(maps))
    for row, box in enumerate(resized_boxes(maps.float().numpy(), size, threshold)):
        if box is None:
            continue
        values = torch.from_numpy(box.values)
        above = values > threshold
        inside[(row, *box.place)] = above
        if with_sums:
            sums[row] = _probabilities(values[above], threshold).sum()
    return inside, sums


def _probabilities(values: Tensor, threshold: float) -> Tensor:
    """Returns probabilities: the sigmoid of logits (threshold 0), else the values themselves."""
    return values if threshold else values.sigmoid()


def _concatenated(groups: list[Tensor], mask_logits: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Concatenates masks to (N, H, W) bool; N is 0 if there are no groups."""
    if not groups:
        return torch.zeros((0, *image_size), dtype=torch.bool, device=mask_logits.device)
    return torch.cat(groups)


def _input_maps(group: Tensor, input_size: InputSize) -> tuple[Tensor, float]:
    """Returns (n, h, w) logits or probabilities of the resized image, and their threshold."""
    padded_size = input_size.padded_height, input_size.padded_width
    if input_size.upsampling == "logits":
        padded, threshold = _resize(group, padded_size), 0.0
    else:
        factor = input_size.padded_height // group.shape[1]
        enlarged = aligned_upsampling(group.float().sigmoid(), factor)
        padded, threshold = _resize(enlarged, padded_size), 0.5
    return padded[:, : input_size.resized_height, : input_size.resized_width], threshold


def _resize(maps: Tensor, size: tuple[int, int], mode: Resize = "bilinear") -> Tensor:
    """Resizes (N, h, w) maps to (N, H, W) float."""
    if maps.shape[1:] == size:
        return maps
    if mode == "nearest":
        return interpolate(maps[:, None].float(), size=size, mode="nearest")[:, 0]
    return interpolate(maps[:, None].float(), size=size, mode="bilinear", align_corners=False)[:, 0]


def aligned_upsampling(maps: Tensor, factor: int = 2) -> Tensor:
    """Enlarges (N, h, w) maps with aligned corners, then shifts them by half a cell (CondInst).

    Output pixel ``factor * i + factor // 2`` has the value of input pixel i, as in the releases.
    """
    if factor == 1:
        return maps
    height, width = maps.shape[1:]
    padded = pad(maps[:, None], (0, 1, 0, 1), mode="replicate")
    size = (factor * height + 1, factor * width + 1)
    enlarged = interpolate(padded, size=size, mode="bilinear", align_corners=True)
    shifted = pad(enlarged, (factor // 2, 0, factor // 2, 0), mode="replicate")
    return shifted[:, 0, : factor * height, : factor * width]


def pairwise_mask_iou(masks: Tensor, smoothing_pixels: float = 0.0) -> Tensor:
    """Computes the (N, N) IoU of masks (N, h, w), adding ``smoothing_pixels`` to both areas.

    The IoU of two empty masks is 0 without smoothing and 1 with it.
    """
    flat = masks.flatten(1).float()
    overlap = flat @ flat.T
    area = flat.sum(dim=1)
    union = area[:, None] + area[None, :] - overlap
    smallest = smoothing_pixels or 1.0  # the smallest nonzero union
    return (overlap + smoothing_pixels) / (union + smoothing_pixels).clamp(min=smallest)


def mask_boundary(masks: Tensor, threshold: float = 0.1) -> Tensor:
    """Finds the boundary pixels of bool masks (N, h, w) (1st place 2.2).

    Binarises each mask's Laplacian. Pixels beyond the image border are 0, so a mask that reaches
    the border has a boundary there. The report does not give the threshold T_b; BMask R-CNN, which
    the report follows, uses 0.1. A mask pixel is on the boundary if any of its 8 neighbours is not
    in the mask.
    """
    kernel = masks.new_full((1, 1, 3, 3), -1, dtype=torch.float32)
    kernel[0, 0, 1, 1] = 8
    response = conv2d(masks[:, None].float(), kernel, padding=1)[:, 0]
    return response.clamp(min=0) > threshold
