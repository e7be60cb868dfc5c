"""Brings what a network found in some frames to the CPU, in one piece: each piece is waited for."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


_FIRST = -1  # the priority of a stream whose small kernels go before large ones


class SecondStream:
    """Is where a second thread works on what the network has found; nothing special on a CPU."""

    def __init__(self) -> None:
        self._stream: torch.cuda.Stream | None = None

    @staticmethod
    def mark(found: Sequence[Sequence[Instances]]) -> torch.cuda.Event | None:
        """Notes, in the thread of the network, when it has found something.

        Args:
            found: What each walk has found in some frames.

        Returns:
            The event to wait for; None if nothing lies on a GPU.
        """
        device = next((each.scores.device for own in found for each in own), None)
        if device is None or device.type != "cuda":
            return None
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(device))
        return event

    @contextmanager
    def after(self, event: torch.cuda.Event | None) -> Iterator[None]:
        """Works beside the network, after an event.

        Ends when the GPU has: from then on the network may write where its findings lay.

        Args:
            event: What ``mark`` gave.
        """
        if event is None:
            yield
            return
        self._stream = self._stream or torch.cuda.Stream(event.device, _FIRST)
        self._stream.wait_event(event)
        with torch.cuda.stream(self._stream):
            yield
        self._stream.synchronize()
