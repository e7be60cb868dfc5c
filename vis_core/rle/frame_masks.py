"""The masks of one frame as run lengths, with the numbers that tracks add up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from vis_core.geometry.sparse_resize import BoxMask
from vis_core.rle.encode import runs_of_box, strings_of_runs
from vis_core.rle.segmentation import encode_masks


@dataclass(frozen=True)
class EncodedMasks:
    """Is N masks of one frame.

    Attributes:
        counts: Compressed run lengths of each.
        areas: Pixels of each.
        confidences: Sum of the sigmoid of the pixels of each; None if that was not asked for.
    """

    counts: tuple[str, ...]
    areas: tuple[int, ...]
    confidences: tuple[float, ...] | None = None

    @classmethod
    def of(cls, masks: Tensor, confidences: Tensor | None = None) -> Self:
        """Encodes masks.

        Args:
            masks: (N, H, W) bool.
            confidences: (N,) sum of the sigmoid of each mask's pixels, where it is asked for.
        """
        insides = None if confidences is None else tuple(confidences.tolist())
        if masks.device.type != "cpu":
            counts, areas = strings_on_device(masks), areas_on_device(masks)
            return cls(tuple(counts), tuple(areas), insides)
        pixels = masks.numpy()
        # mask by mask: numpy counts a block of bytes ten times as fast as torch counts rows
        return cls(
            tuple(rle["counts"] for rle in encode_masks(pixels)),
            tuple(int(np.count_nonzero(mask)) for mask in pixels),
            insides,
        )

    @classmethod
    def of_boxes(cls, boxes: Sequence[BoxMask | None], size: tuple[int, int]) -> Self:
        """Encodes masks (H, W) of which the rest is background; None is an empty one.

        Args:
            boxes: The masks.
            size: H and W.
        """
        nothing = BoxMask(0, 0, np.zeros((1, 1), bool))
        full = [box or nothing for box in boxes]
        runs = [runs_of_box(box.inside, box.top, box.left, size) for box in full]
        return cls(
            tuple(strings_of_runs(runs)),
            tuple(int(np.count_nonzero(box.inside)) for box in full),
        )

    def __len__(self) -> int:
        return len(self.counts)

    def rows(self, index: Sequence[int]) -> "EncodedMasks":
        """Keeps the masks at some places."""
        inside = self.confidences
        return EncodedMasks(
            tuple(self.counts[row] for row in index),
            tuple(self.areas[row] for row in index),
            None if inside is None else tuple(inside[row] for row in index),
        )


def strings_on_device(masks: Tensor) -> list[str]:
    """Writes the ``counts`` of masks (N, H, W) of bool; equals ``pycocotools.mask.encode``."""
    count, height, width = masks.shape
    columns = masks.transpose(1, 2).reshape(count, height * width)
    # a run ends before each pixel that differs from the one before it; before the first is nothing
    turns = torch.cat([columns[:, :1], columns[:, 1:] != columns[:, :-1]], dim=1)
    owners, places = turns.nonzero(as_tuple=True)
    firsts = torch.searchsorted(owners, torch.arange(count + 1, device=masks.device))
    ends, bounds = places.cpu().numpy(), firsts.cpu().numpy()
    runs = [
        np.diff(np.append(ends[first:last], height * width), prepend=0)
        for first, last in zip(bounds, bounds[1:], strict=False)
    ]
    return strings_of_runs(runs)


def areas_on_device(masks: Tensor) -> list[int]:
    """Foreground pixels of masks (N, H, W) of bool."""
    areas: list[int] = masks.flatten(1).sum(dim=1).tolist()
    return areas
