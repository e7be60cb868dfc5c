"""Destinations of the masks of tracks while a video is processed."""

from array import array
from collections import defaultdict
from typing import Protocol

from vis_core.rle.packed import PackedMasks


class MaskSink(Protocol):
    """Destination of masks; a serial number identifies a track from its start or restart."""

    def add(self, frame_index: int, serial: int, score: float, counts: str) -> None:
        """Adds run lengths and score of a track in a frame; frames come in ascending order."""

    def drop(self, serial: int) -> None:
        """Discards a track that the result will not contain."""


class MasksInMemory:
    """All masks and frame scores by serial, in flat arrays."""

    def __init__(self) -> None:
        self.masks: dict[int, PackedMasks] = defaultdict(PackedMasks)
        self.frame_scores: dict[int, array[float]] = defaultdict(lambda: array("d"))

    def add(self, frame_index: int, serial: int, score: float, counts: str) -> None:
        """Adds run lengths and score of a track in a frame."""
        self.masks[serial].add(frame_index, counts)
        self.frame_scores[serial].append(score)

    def drop(self, serial: int) -> None:
        """Frees the masks of a track."""
        self.masks.pop(serial, None)
        self.frame_scores.pop(serial, None)
