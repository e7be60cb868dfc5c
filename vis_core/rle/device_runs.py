"""Masks to compressed RLE where they are: all of a frame at once, on a GPU or any other device.

What leaves the device are the places at which runs end, some hundred numbers a mask instead of all
its pixels. On a CPU ``encode.py`` is faster, which looks at the boxes of masks alone.
"""

import numpy as np
import torch
from torch import Tensor

from vis_core.rle.encode import strings_of_runs


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
