"""The masks of one frame as run lengths, with their areas and confidences."""

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
    """N masks of one frame."""

    counts: tuple[str, ...]
    areas: tuple[int, ...]
    # sum of the sigmoid over each mask's pixels; None if not used for scores
    confidences: tuple[float, ...] | None = None

    @classmethod
    def of(cls, masks: Tensor, confidences: Tensor | None = None) -> Self:
        """Encodes bool masks (N, H, W) with their (N,) confidences."""
        sums = None if confidences is None else tuple(confidences.tolist())
        if masks.device.type != "cpu":
            return cls(tuple(strings_on_device(masks)), tuple(areas_on_device(masks)), sums)
        pixels = masks.numpy()
        # one by one in numpy, which counts bytes ten times as fast as torch
        return cls(
            tuple(rle["counts"] for rle in encode_masks(pixels)),
            tuple(int(np.count_nonzero(mask)) for mask in pixels),
            sums,
        )

    @classmethod
    def of_boxes(cls, boxes: Sequence[BoxMask | None], size: tuple[int, int]) -> Self:
        """Encodes masks (H, W) that are background outside a box; None is an empty mask."""
        empty = BoxMask(0, 0, np.zeros((1, 1), bool))
        full = [box or empty for box in boxes]
        runs = [runs_of_box(box.inside, box.top, box.left, size) for box in full]
        return cls(
            tuple(strings_of_runs(runs)),
            tuple(int(np.count_nonzero(box.inside)) for box in full),
        )

    def __len__(self) -> int:
        return len(self.counts)

    def rows(self, index: Sequence[int]) -> "EncodedMasks":
        """Selects masks by their index."""
        confidences = self.confidences
        return EncodedMasks(
            tuple(self.counts[row] for row in index),
            tuple(self.areas[row] for row in index),
            None if confidences is None else tuple(confidences[row] for row in index),
        )


def strings_on_device(masks: Tensor) -> list[str]:
    """Writes the ``counts`` of bool masks (N, H, W); equals ``pycocotools.mask.encode``."""
    count, height, width = masks.shape
    columns = masks.transpose(1, 2).reshape(count, height * width)
    # a run ends before each pixel that differs from the one before it
    changes = torch.cat([columns[:, :1], columns[:, 1:] != columns[:, :-1]], dim=1)
    owners, places = changes.nonzero(as_tuple=True)
    firsts = torch.searchsorted(owners, torch.arange(count + 1, device=masks.device))
    ends, bounds = places.cpu().numpy(), firsts.cpu().numpy()
    runs = [
        np.diff(np.append(ends[first:last], height * width), prepend=0)
        for first, last in zip(bounds, bounds[1:], strict=False)
    ]
    return strings_of_runs(runs)


def areas_on_device(masks: Tensor) -> list[int]:
    """Counts the foreground pixels of bool masks (N, H, W)."""
    return masks.flatten(1).sum(dim=1).tolist()
