"""Batched copies from the GPU, and a second CUDA stream for the association thread."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from vis_core.structures import Instances, without_masks


def cpu_copies(frames: Sequence[Instances]) -> list[Instances]:
    """Copies the instances of frames from one device to the CPU, bit for bit, without masks.

    All tensors of one dtype are copied together, since each copy waits for the GPU.
    """
    small = [without_masks(instances) for instances in frames]
    if all(instances.scores.device.type == "cpu" for instances in small):
        return small
    tables = [instances.tensors() for instances in small]
    copies = iter(in_one_piece([tensor for table in tables for tensor in table.values()]))
    return [
        replace(instances, **{name: next(copies) for name in table})
        for instances, table in zip(small, tables, strict=True)
    ]


def in_one_piece(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies tensors from one device to the CPU, with one copy per dtype."""
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


class SecondStream:
    """A high-priority CUDA stream for a second thread; no effect on a CPU."""

    def __init__(self) -> None:
        self._stream: torch.cuda.Stream | None = None

    @staticmethod
    def record(predicted: Sequence[Sequence[Instances]]) -> torch.cuda.Event | None:
        """Records an event after all stages' predictions; returns None if they are on the CPU."""
        device = next((each.scores.device for frames in predicted for each in frames), None)
        if device is None or device.type != "cuda":
            return None
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(device))
        return event

    @contextmanager
    def after(self, event: torch.cuda.Event | None) -> Iterator[None]:
        """Runs a block on this stream after an event from ``record``, then waits for the stream.

        The network may then overwrite its predictions.
        """
        if event is None:
            yield
            return
        # -1 is high: this stream's small kernels run before the network's large ones
        self._stream = self._stream or torch.cuda.Stream(event.device, priority=-1)
        self._stream.wait_event(event)
        with torch.cuda.stream(self._stream):
            yield
        self._stream.synchronize()
