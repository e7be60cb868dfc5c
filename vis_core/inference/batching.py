"""One network shared by several videos, whose frames are batched together."""

import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

from vis_core.geometry.masks import InputSize
from vis_core.inference.protocols import FrameAssociator, FrameSystem
from vis_core.structures import Instances


@dataclass(eq=False)
class _Request:
    """The images of one ``segment`` call; a result is None until its image is processed."""

    images: list[np.ndarray]
    results: list[Instances | None]
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return self.error is not None or all(result is not None for result in self.results)


_Entry = tuple[_Request, int]  # one image of a request


class SharedNetwork:
    """A system for several threads, one per video.

    A thread that calls an idle network runs it until its own request is done; the batches also have
    images from the requests of other threads. A batch has waiting images of one size, oldest first.
    Batches are full as long as there are enough frames, even at the ends of videos, and no thread
    waits for more frames.
    """

    def __init__(self, system: FrameSystem, batch_images: int) -> None:
        self._system = system
        self.quick_resize = getattr(system, "quick_resize", False)
        self._batch_images = batch_images
        self._changed = threading.Condition()
        self._waiting: deque[_Entry] = deque()
        self._is_running = False

    def new_associator(self) -> FrameAssociator:
        """Starts a video: returns an associator without a past."""
        return self._system.new_associator()

    def input_size(self, height: int, width: int) -> InputSize:
        """Computes how an image of this size is resized and padded."""
        return self._system.input_size(height, width)

    def segment(self, images: list[np.ndarray]) -> list[Instances]:
        """Predicts the instances of each image (H, W, 3), all of one size."""
        request = _Request(images, [None] * len(images))
        with self._changed:
            self._waiting.extend((request, place) for place in range(len(images)))
            self._changed.wait_for(lambda: request.is_done or not self._is_running)
            runs = not request.is_done
            self._is_running |= runs
        if runs:
            self._run_until_done(request)
        if request.error is not None:
            raise request.error
        return [result for result in request.results if result is not None]

    def _run_until_done(self, request: _Request) -> None:
        """Runs the network until a request is done; another thread then takes over."""
        try:
            while not request.is_done:
                self._process(self._next_batch())
                with self._changed:
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._is_running = False
                self._changed.notify_all()

    def _next_batch(self) -> list[_Entry]:
        """Takes the longest-waiting images of one size."""
        with self._changed:
            first, place = self._waiting[0]
            shape = first.images[place].shape
            same_size = [(r, p) for r, p in self._waiting if r.images[p].shape == shape]
            batch = same_size[: self._batch_images]
            self._waiting = deque(entry for entry in self._waiting if entry not in batch)
        return batch

    def _process(self, batch: list[_Entry]) -> None:
        """Processes a batch; after an error, retries each request alone."""
        try:
            results = self._system.segment([request.images[place] for request, place in batch])
            for (request, place), instances in zip(batch, results, strict=True):
                request.results[place] = instances
        except Exception as error:
            requests = {id(request): request for request, _ in batch}
            if len(requests) == 1:
                self._fail(batch[0][0], error)
                return
            for request in requests.values():
                self._process([entry for entry in batch if entry[0] is request])

    def _fail(self, request: _Request, error: Exception) -> None:
        with self._changed:
            request.error = error
            self._waiting = deque(entry for entry in self._waiting if entry[0] is not request)
