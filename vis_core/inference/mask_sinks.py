"""Where the run lengths of tracks go while a video runs."""

from array import array
from dataclasses import dataclass, field
from typing import Protocol

from vis_core.rle.packed import PackedMasks


class MaskSink(Protocol):
    """Takes the masks of tracks frame by frame; a serial number stands for one life of a track."""

    def show(self, frame_index: int, serial: int, score: float, counts: str) -> None:
        """Takes the run lengths and the score of a track in a frame; frames only go on."""

    def drop(self, serial: int) -> None:
        """Is told that nothing of this life of a track will be asked for."""


@dataclass
class KeptMasks:
    """Is the masks and scores of one life of a track.

    Attributes:
        masks: Of the frames in which it shows at least one pixel.
        frame_scores: Its confidence in each of these.
    """

    masks: PackedMasks = field(default_factory=PackedMasks)
    frame_scores: "array[float]" = field(default_factory=lambda: array("d"))


class MasksInMemory:
    """Keeps all masks in flat arrays, a tenth of what lists of RLEs take."""

    def __init__(self) -> None:
        self._kept: dict[int, KeptMasks] = {}

    def show(self, frame_index: int, serial: int, score: float, counts: str) -> None:
        """Adds a frame in which a track has pixels."""
        kept = self._kept.setdefault(serial, KeptMasks())
        kept.masks.show(frame_index, counts)
        kept.frame_scores.append(score)

    def drop(self, serial: int) -> None:
        """Frees what a life of a track holds."""
        self._kept.pop(serial, None)

    def of(self, serial: int) -> KeptMasks:
        """Gives what is kept of a life; empty if it never showed a pixel."""
        return self._kept.get(serial, KeptMasks())
