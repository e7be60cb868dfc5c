"""The tracks of two neighbouring segments at their boundary, and how they are stored."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vis_core.errors import StorageError
from vis_core.rle.packed import PackedMasks


@dataclass(frozen=True)
class BoundaryTrack:
    """One track of a segment at a boundary."""

    segment: int  # segment number, from 0
    track_id: int  # identity in the segment
    label: int  # its most frequent class so far
    embedding: np.ndarray  # (C,) float32, as the association's memory compares it
    # frames between the boundary and the track's nearest instance. In the earlier segment, this is
    # its last instance; in the later segment, its first (0 frames if in the overlap)
    away: int
    # its masks in the overlap; frames are counted from the start of the video
    masks: PackedMasks = field(default_factory=PackedMasks)

    @property
    def key(self) -> tuple[int, int]:
        """Segment and id, unique in the video."""
        return self.segment, self.track_id


@dataclass(frozen=True)
class SegmentBoundary:
    """One segment's tracks at its boundary with a neighbouring segment."""

    size: tuple[int, int]  # height and width of every frame
    # first frame that both process, and first output frame of the later segment
    overlap: tuple[int, int]
    # for the earlier segment, all tracks in its memory at the end; for the later segment, the
    # tracks in its memory when its output begins, and all tracks that start after that
    tracks: tuple[BoundaryTrack, ...]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Packs the boundary as numeric arrays, for any file format."""
        tracks = self.tracks
        widths = {track.embedding.shape for track in tracks}
        assert len(widths) < 2, f"embeddings of shapes {widths}"
        counts = b"".join(bytes(track.masks.counts) for track in tracks)
        return {
            "size": np.array(self.size, np.int64),
            "overlap": np.array(self.overlap, np.int64),
            "names": np.array([track.key for track in tracks], np.int64).reshape(-1, 2),
            "labels": np.array([track.label for track in tracks], np.int64),
            "away": np.array([track.away for track in tracks], np.int64),
            "embeddings": np.array([track.embedding for track in tracks], np.float32).reshape(
                len(tracks), -1 if tracks else 0
            ),
            "num_masks": np.array([len(track.masks) for track in tracks], np.int64),
            "mask_frames": _concatenated([track.masks.frame_indices for track in tracks]),
            "mask_lengths": _concatenated([np.diff([0, *track.masks.ends]) for track in tracks]),
            "counts": np.frombuffer(counts, np.uint8),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "SegmentBoundary":
        """Reverses ``to_arrays``; raises StorageError if an array is missing or misshapen."""
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
                masks.add(frames[place], counts[end - lengths[place] : end].decode("ascii"))
            label, away = int(arrays["labels"][row]), int(arrays["away"][row])
            embedding = np.array(arrays["embeddings"][row], np.float32)
            tracks.append(BoundaryTrack(segment, track_id, label, embedding, away, masks))
        height, width = arrays["size"].tolist()
        start, stop = arrays["overlap"].tolist()
        return cls((height, width), (start, stop), tuple(tracks))


def _concatenated(parts: "list[array[int]] | list[np.ndarray]") -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *(np.array(part, np.int64) for part in parts)])


def _check(arrays: Mapping[str, np.ndarray]) -> None:
    """Raises StorageError unless all arrays are present and their shapes agree."""
    names = ("size", "overlap", "names", "labels", "away", "embeddings", "num_masks")
    missing = sorted({*names, "mask_frames", "mask_lengths", "counts"} - arrays.keys())
    if missing:
        raise StorageError(f"boundary: {', '.join(missing)} are missing; process the segment again")
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
            raise StorageError(f"boundary: {name} is {found}, expected {shape}; process it again")
