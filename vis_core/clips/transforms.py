"""Pixel transforms of an image and its masks, step by step or by affine maps.

No function draws random numbers; ``clips/sampling.py`` and its callers draw the parameters. Images
are (H, W, 3) uint8, masks (G, H, W) bool. Pixels from outside the image are 0.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from vis_core.clips.affine import Affine
from vis_core.geometry.image_resize import resize_image
from vis_core.structures import Clip

_HALF = 128  # a pixel belongs to a mask if at least half of it is covered


def resize(
    image: np.ndarray, masks: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Resizes an image and its masks bilinearly, without aliasing."""
    if image.shape[:2] == (height, width):
        return image, masks
    resized = np.zeros((len(masks), height, width), dtype=bool)
    for g in np.flatnonzero(masks.any(axis=(1, 2))):
        resized[g] = resize_image(masks[g].astype(np.uint8) * 255, height, width) >= _HALF
    return resize_image(image, height, width), resized


def crop(
    image: np.ndarray, masks: np.ndarray, x0: int, y0: int, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Crops ``height`` x ``width`` pixels with the upper-left pixel at ``(x0, y0)``."""
    rows, columns = slice(y0, y0 + height), slice(x0, x0 + width)
    return image[rows, columns], masks[:, rows, columns]


def flip(image: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mirrors an image and its masks left to right."""
    return image[:, ::-1], masks[:, :, ::-1]


def warp_image(image: np.ndarray, affine: Affine) -> np.ndarray:
    """Warps a uint8 image or plane (H, W) bilinearly."""
    moved: np.ndarray = cv2.warpAffine(
        np.ascontiguousarray(image),
        affine.pixel_matrix,
        (affine.width, affine.height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    return moved


def warp_frames(
    image: np.ndarray, masks: np.ndarray, affines: Sequence[Affine]
) -> tuple[np.ndarray, np.ndarray]:
    """Warps an image and its masks by T maps, to (T, H, W, 3) uint8 and (T, G, H, W) bool.

    All maps have one output size. If all maps shrink the source, it is first averaged down, since
    bilinear interpolation of four pixels would alias.
    """
    image, masks, affines = shrink_source(image, masks, affines)
    size = (affines[0].height, affines[0].width)
    images = np.empty((len(affines), *size, 3), dtype=np.uint8)
    moved = np.zeros((len(affines), len(masks), *size), dtype=bool)
    cut_outs = dict(enumerate(_cut_outs(masks)))
    largest = max(cut_outs, key=lambda g: cut_outs[g].coverage.size, default=None)
    if largest is not None:
        del cut_outs[largest]
    four = four_channels(image, None if largest is None else masks[largest])
    for t, affine in enumerate(affines):
        _, mask = warp_four_channels(four, affine, into=images[t])
        if largest is not None:
            moved[t, largest] = mask
        for g, cut_out in cut_outs.items():
            _warp_into(moved[t, g], cut_out, affine)
    return images, moved


def four_channels(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Appends a mask (H, W), bool or coverage, to an image as its fourth channel.

    OpenCV warps four channels in half the time of three, with the same result.
    """
    four = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2RGBA)
    if mask is not None:
        four[..., 3] = _coverage(mask)
    return four


def warp_four_channels(
    four: np.ndarray, affine: Affine, into: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Warps the result of ``four_channels`` to an image, written to ``into``, and a bool mask."""
    moved = warp_image(four, affine)
    image = cv2.cvtColor(moved, cv2.COLOR_RGBA2RGB, dst=into)
    return image, cv2.extractChannel(moved, 3) >= _HALF


def shrink_source(
    image: np.ndarray, masks: np.ndarray, affines: Sequence[Affine]
) -> tuple[np.ndarray, np.ndarray, list[Affine]]:
    """Shrinks an image by averaging to the largest size that any of the maps needs.

    Returns the image, the masks (coverage in 0..255 if shrunk) and the adapted maps.
    """
    height, width = image.shape[:2]
    factor = min(1.0, max(affine.scale for affine in affines))
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    if size == (height, width):
        return image, masks, list(affines)
    coverage = np.zeros((len(masks), *size), dtype=np.uint8)
    for out, mask in zip(coverage, masks, strict=True):
        cv2.resize(_coverage(mask), size[::-1], dst=out, interpolation=cv2.INTER_AREA)
    back = Affine(np.array([[width / size[1], 0, 0], [0, height / size[0], 0]]), height, width)
    shrunk = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    return shrunk, coverage, [affine.after(back) for affine in affines]


def reached_part(
    affine: Affine, height: int, width: int
) -> tuple[tuple[slice, slice], Affine] | None:
    """Computes the rows and columns of the output that a source of ``height`` x ``width`` reaches.

    Also returns the map to this part only. Returns None if the source is outside the output.
    """
    # For four numbers, numpy takes six times as long as plain Python. Bilinear interpolation
    # reaches half a pixel beyond the source; a margin of one pixel is safe.
    spans = []
    for (of_x, of_y, shift), end in zip(
        affine.matrix.tolist(), (affine.width, affine.height), strict=True
    ):
        places = [of_x * x + of_y * y + shift for x in (-1, width + 1) for y in (-1, height + 1)]
        spans.append((max(math.floor(min(places)), 0), min(math.ceil(max(places)), end)))
    (x0, x1), (y0, y1) = spans
    if x0 >= x1 or y0 >= y1:
        return None
    matrix = affine.matrix.copy()
    matrix[:, 2] -= (x0, y0)
    return (slice(y0, y1), slice(x0, x1)), Affine(matrix, y1 - y0, x1 - x0)


class _CutOut(NamedTuple):
    """A mask's coverage (h, w) in 0..255 within its box, whose upper-left corner is (x0, y0)."""

    coverage: np.ndarray
    x0: int
    y0: int


def _cut_outs(masks: np.ndarray) -> list[_CutOut]:
    cut_outs = []
    for mask in masks:
        x0, y0, width, height = cv2.boundingRect(np.ascontiguousarray(mask.view(np.uint8)))
        cut_outs.append(_CutOut(_coverage(mask[y0 : y0 + height, x0 : x0 + width]), x0, y0))
    return cut_outs


def _coverage(mask: np.ndarray) -> np.ndarray:
    """Converts a mask, bool or coverage, to coverage in 0..255."""
    return mask.view(np.uint8) * np.uint8(255) if mask.dtype == bool else mask


def _warp_into(out: np.ndarray, cut_out: _CutOut, affine: Affine) -> None:
    """Warps a cut-out into ``out`` (height, width) bool, which must be empty."""
    coverage, x0, y0 = cut_out
    if not coverage.size:
        return
    matrix = affine.matrix.copy()
    matrix[:, 2] += matrix[:, :2] @ (x0, y0)
    part = reached_part(Affine(matrix, affine.height, affine.width), *coverage.shape)
    if part is not None:
        window, local = part
        np.greater_equal(warp_image(coverage, local), _HALF, out=out[window])


def visible_instances(clip: Clip, min_pixels: int, *, in_place: bool = False) -> Clip:
    """Empties masks with fewer than ``min_pixels`` and removes instances with no mask left."""
    masks = clip.masks
    pixels = np.array([[np.count_nonzero(mask) for mask in frame] for frame in masks], dtype=int)
    pixels = pixels.reshape(masks.shape[:2])
    slivers = (pixels > 0) & (pixels < min_pixels)
    if slivers.any():
        masks = masks if in_place else masks.copy()
        masks[slivers] = False
    visible = (pixels >= min_pixels).any(axis=0)
    if visible.all():
        return replace(clip, masks=masks)
    ids = None if clip.instance_ids is None else clip.instance_ids[visible]
    return replace(clip, masks=masks[:, visible], labels=clip.labels[visible], instance_ids=ids)


def pad_frames(
    frames: Sequence[np.ndarray], height: int, width: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Pads T images with 0 on the right and bottom to (T, height, width, 3) uint8.

    The second result is the (T, 2) sizes before padding, or None if nothing was padded.
    """
    if all(frame.shape[:2] == (height, width) for frame in frames):
        return np.stack(frames), None
    images = np.zeros((len(frames), height, width, 3), dtype=np.uint8)
    for image, frame in zip(images, frames, strict=True):
        image[: frame.shape[0], : frame.shape[1]] = frame
    return images, np.array([frame.shape[:2] for frame in frames], dtype=np.int64)
