"""Tracks of a video in flat arrays, as they grow while it runs and as several results are fused."""

import hashlib
from array import array
from dataclasses import dataclass, field
from typing import Protocol

from vis_core.rle.packed import PackedMasks
from vis_core.structures import Track


@dataclass(frozen=True)
class PackedTrack:
    """Is one track of one result.

    Attributes:
        label: Class index or id.
        score: In [0, 1].
        masks: Of the frames in which it shows a pixel.
        track_id: Its identity in its result; None where a file states none.
        frame_scores: Its confidence in each frame of ``masks``; None where a file states none.
        predicted_quality: See ``Track``.
    """

    label: int
    score: float
    masks: PackedMasks
    track_id: int | None = None
    frame_scores: "array[float] | None" = None
    predicted_quality: float | None = None

    def order(self) -> tuple[float, int, bytes]:
        """Gives a key that depends on the content alone: better tracks come first."""
        digest = hashlib.blake2b(self.masks.frame_indices.tobytes(), digest_size=16)
        digest.update(self.masks.counts)
        return -self.score, self.label, digest.digest()


def unpack_track(track: PackedTrack, size: tuple[int, int], num_frames: int) -> Track:
    """Makes the track of a result; ``track`` has an id and scores of its frames."""
    assert track.track_id is not None and track.frame_scores is not None
    frame_scores: list[float | None] = [None] * num_frames
    for frame, score in zip(track.masks.frame_indices, track.frame_scores, strict=True):
        frame_scores[frame] = score
    segmentations = track.masks.segmentations(size, num_frames)
    return Track(
        track.track_id,
        track.label,
        track.score,
        segmentations,
        frame_scores,
        track.predicted_quality,
    )


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
