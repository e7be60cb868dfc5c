"""What two neighbouring segments of a video know of their tracks where one ends and one begins."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vis_core.errors import StorageError
from vis_core.rle.packed import PackedMasks


@dataclass(frozen=True)
class BoundaryTrack:
    """Is what a segment knows of one of its tracks at a seam.

    Attributes:
        segment: Number of the segment, from 0.
        track_id: Identity in the segment.
        label: Class that most of its frames so far have.
        embedding: (C,) float32, what the memory of the association compares with.
        away: Frames between the seam and the nearest that names it: on the side before, those since
            it was last named; on the side after, those until it is named first, 0 if that is in
            the overlap.
        masks: Its run lengths in the overlap; frames are counted from the start of the video.
    """

    segment: int
    track_id: int
    label: int
    embedding: np.ndarray
    away: int
    masks: PackedMasks = field(default_factory=PackedMasks)

    @property
    def name(self) -> tuple[int, int]:
        """Segment and id, which no other track of the video has."""
        return self.segment, self.track_id


@dataclass(frozen=True)
class SegmentBoundary:
    """Is what one of the two segments knows at their seam.

    Attributes:
        size: Height and width of every frame.
        overlap: First frame that both walk, and where the output of the later one begins.
        tracks: Of the segment before: all that its memory holds at the end. Of the segment after:
            those that its memory holds when its output begins, and those that start later.
    """

    size: tuple[int, int]
    overlap: tuple[int, int]
    tracks: tuple[BoundaryTrack, ...]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Gives all of it as arrays of numbers, for any file that holds such."""
        tracks = self.tracks
        widths = {track.embedding.shape for track in tracks}
        assert len(widths) < 2, f"embeddings of shapes {widths}"
        counts = b"".join(bytes(track.masks.counts) for track in tracks)
        return {
            "size": np.array(self.size, np.int64),
            "overlap": np.array(self.overlap, np.int64),
            "names": np.array([track.name for track in tracks], np.int64).reshape(-1, 2),
            "labels": np.array([track.label for track in tracks], np.int64),
            "away": np.array([track.away for track in tracks], np.int64),
            "embeddings": np.array([track.embedding for track in tracks], np.float32).reshape(
                len(tracks), -1 if tracks else 0
            ),
            "num_masks": np.array([len(track.masks) for track in tracks], np.int64),
            "mask_frames": _joined([track.masks.frame_indices for track in tracks]),
            "mask_lengths": _joined([np.diff([0, *track.masks.ends]) for track in tracks]),
            "counts": np.frombuffer(counts, np.uint8),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "SegmentBoundary":
        """Reads what ``to_arrays`` gave.

        Raises:
            StorageError: An array is missing, or they do not go together.
        """
        _check(arrays)
        ends = np.cumsum(arrays["num_masks"])
        byte_ends = np.cumsum(arrays["mask_lengths"])
        frames, lengths = arrays["mask_frames"].tolist(), arrays["mask_lengths"].tolist()
        counts = arrays["counts"].astype(np.uint8).tobytes()
        tracks = []
        for row, (segment, track_id) in enumerate(arrays["names"].tolist()):
            last = int(ends[row])
            masks = PackedMasks()
            for place in range(last - int(arrays["num_masks"][row]), last):
                end = int(byte_ends[place])
                masks.show(frames[place], counts[end - lengths[place] : end].decode("ascii"))
            label, away = int(arrays["labels"][row]), int(arrays["away"][row])
            embedding = np.array(arrays["embeddings"][row], np.float32)
            tracks.append(BoundaryTrack(segment, track_id, label, embedding, away, masks))
        height, width = arrays["size"].tolist()
        start, stop = arrays["overlap"].tolist()
        return cls((height, width), (start, stop), tuple(tracks))


def _joined(parts: "list[array[int]] | list[np.ndarray]") -> np.ndarray:
    """Puts numbers one after the other, int64."""
    return np.concatenate([np.zeros(0, np.int64), *(np.array(part, np.int64) for part in parts)])


def _check(arrays: Mapping[str, np.ndarray]) -> None:
    """Raises StorageError unless the arrays go together."""
    names = ("size", "overlap", "names", "labels", "away", "embeddings", "num_masks")
    missing = sorted({*names, "mask_frames", "mask_lengths", "counts"} - arrays.keys())
    if missing:
        raise StorageError(f"seam: the arrays {', '.join(missing)} are missing; walk it again")
    count, num_masks = len(arrays["names"]), int(arrays["num_masks"].sum())
    expected = {
        "size": (2,),
        "overlap": (2,),
        "names": (count, 2),
        "labels": (count,),
        "away": (count,),
        "embeddings": (count, *arrays["embeddings"].shape[1:2]),
        "num_masks": (count,),
        "mask_frames": (num_masks,),
        "mask_lengths": (num_masks,),
        "counts": (int(arrays["mask_lengths"].sum()),),
    }
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            found = arrays[name].shape
            raise StorageError(f"seam: {name} is {found}, expected {shape}; walk it again")
