"""A stream of a GPU for the thread that names, so that it does not queue behind the network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from vis_core.structures import Instances

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
