"""Brings what a network found in some frames to the CPU, in one piece: each piece is waited for."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vis_core.structures import Instances, without_masks


def cpu_copies(found: Sequence[Instances]) -> list[Instances]:
    """Copies the instances of some frames to the CPU, bit by bit; of their masks (N, 0, 0) is left.

    Args:
        found: What was found in each frame, all on one device.
    """
    small = [without_masks(instances) for instances in found]
    if all(instances.scores.device.type == "cpu" for instances in small):
        return small
    held = [instances.tensors() for instances in small]
    copied = iter(in_one_piece([tensor for own in held for tensor in own.values()]))
    return [
        replace(instances, **{name: next(copied) for name in own})
        for instances, own in zip(small, held, strict=True)
    ]


def in_one_piece(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies tensors of one device to the CPU, all of one type at once."""
    joined = {
        dtype: torch.cat([t.flatten() for t in tensors if t.dtype == dtype]).cpu()
        for dtype in {tensor.dtype for tensor in tensors}
    }
    taken = dict.fromkeys(joined, 0)
    copies = []
    for tensor in tensors:
        first = taken[tensor.dtype]
        taken[tensor.dtype] = last = first + tensor.numel()
        copies.append(joined[tensor.dtype][first:last].view(tensor.shape))
    return copies
