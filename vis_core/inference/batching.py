"""One network for several videos at once: frames of all of them share its batches."""

import threading
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from vis_core.geometry.masks import InputSize
from vis_core.inference.protocols import FrameAssociator, FrameSystem
from vis_core.structures import Instances


@dataclass(eq=False)
class _Asked:
    """Is what one thread has asked for.

    Attributes:
        images: Frames of one size.
        found: What the network found in each; None where it has not looked yet.
        error: Why there will be no answer.
    """

    images: list[np.ndarray]
    found: list[Instances | None] = field(init=False)
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.found = [None] * len(self.images)

    @property
    def is_answered(self) -> bool:
        return self.error is not None or all(found is not None for found in self.found)


class SharedNetwork:
    """Is a system that several threads may ask, one for each video.

    Whoever asks while the network rests runs it, for itself and for all who ask meanwhile: images
    of one size, in the order in which they came. So batches are full as long as there are frames,
    also at the ends of videos, and nobody waits for more to come.
    """

    def __init__(self, system: FrameSystem, batch_images: int) -> None:
        """Shares a system.

        Args:
            system: Segments frames and names instances.
            batch_images: Images that go through the network at once.
        """
        self._system = system
        self._batch_images = batch_images
        self._changed = threading.Condition()
        self._waiting: deque[tuple[_Asked, int]] = deque()
        self._is_running = False

    def new_associator(self) -> FrameAssociator:
        """Starts a video."""
        return self._system.new_associator()

    def input_size(self, height: int, width: int) -> InputSize:
        """Says how an image of this size is resized and padded."""
        return self._system.input_size(height, width)

    def segment(self, images: list[np.ndarray]) -> list[Instances]:
        """Finds the instances of each image (H, W, 3), all of one size."""
        asked = _Asked(images)
        with self._changed:
            self._waiting.extend((asked, place) for place in range(len(images)))
            self._changed.wait_for(lambda: asked.is_answered or not self._is_running)
            runs = not asked.is_answered
            self._is_running |= runs
        if runs:
            self._run_until(asked)
        if asked.error is not None:
            raise asked.error
        return [found for found in asked.found if found is not None]

    def _run_until(self, asked: _Asked) -> None:
        """Runs the network until one who asks has the answer; others then go on."""
        try:
            while not asked.is_answered:
                self._answer(self._next_batch())
                with self._changed:
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._is_running = False
                self._changed.notify_all()

    def _next_batch(self) -> list[tuple[_Asked, int]]:
        """Takes the images that waited longest, of one size."""
        with self._changed:
            first, place = self._waiting[0]
            shape = first.images[place].shape
            alike = [(a, p) for a, p in self._waiting if a.images[p].shape == shape]
            batch = alike[: self._batch_images]
            self._waiting = deque(entry for entry in self._waiting if entry not in batch)
        return batch

    def _answer(self, batch: list[tuple[_Asked, int]]) -> None:
        """Looks at a batch; if that fails, at what each has asked for apart: one is to blame."""
        try:
            self._look(batch)
        except Exception as error:
            askers = {id(asked): asked for asked, _ in batch}
            if len(askers) == 1:
                self._refuse(batch[0][0], error)
                return
            for asked in askers.values():
                self._answer([entry for entry in batch if entry[0] is asked])

    def _look(self, batch: list[tuple[_Asked, int]]) -> None:
        answers = self._system.segment([asked.images[place] for asked, place in batch])
        for (asked, place), found in zip(batch, answers, strict=True):
            asked.found[place] = found

    def _refuse(self, asked: _Asked, error: Exception) -> None:
        with self._changed:
            asked.error = error
            self._waiting = deque(entry for entry in self._waiting if entry[0] is not asked)
