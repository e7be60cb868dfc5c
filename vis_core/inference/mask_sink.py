"""Destinations for track masks while a video is processed."""

from array import array
from collections import defaultdict
from typing import Protocol

from vis_core.rle.packed import PackedMasks


class MaskSink(Protocol):
    """A destination for masks; each start or restart of a track has its own serial number."""

    def add(self, frame_index: int, serial: int, score: float, counts: str) -> None:
        """Adds a track's run lengths and score in a frame; frames come in ascending order."""

    def drop(self, serial: int) -> None:
        """Discards a track that the result will not contain."""


class MasksInMemory:
    """All masks and frame scores by serial number, in flat arrays."""

    def __init__(self) -> None:
        self.masks: dict[int, PackedMasks] = defaultdict(PackedMasks)
        self.frame_scores: dict[int, array[float]] = defaultdict(lambda: array("d"))

    def add(self, frame_index: int, serial: int, score: float, counts: str) -> None:
        """Adds a track's run lengths and score in a frame."""
        self.masks[serial].add(frame_index, counts)
        self.frame_scores[serial].append(score)

    def drop(self, serial: int) -> None:
        """Frees a track's masks."""
        self.masks.pop(serial, None)
        self.frame_scores.pop(serial, None)
