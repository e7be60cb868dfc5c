"""Notes, while a segment is walked, what its seams with the segments before and after need."""

from collections import Counter, defaultdict

import numpy as np
from torch import Tensor

from vis_core.association.memory import MemoryBank
from vis_core.inference.stitching.boundary import BoundaryTrack, SegmentBoundary
from vis_core.inference.stitching.segments import Segment
from vis_core.rle.frame_masks import EncodedMasks
from vis_core.rle.packed import PackedMasks
from vis_core.structures import Instances


class BoundaryRecorder:
    """Watches the naming of one segment.

    What it keeps grows with the number of tracks, not with the frames.
    """

    def __init__(
        self,
        number: int,
        segment: Segment,
        memory: MemoryBank,
        overlap: int,
        reach: int | None = None,
    ) -> None:
        """Starts before the first frame.

        Args:
            number: Of the segment, from 0.
            segment: What is walked.
            memory: Of the associator that walks it.
            overlap: Frames at its end that the next segment walks too.
            reach: Frames after the start of its output within which a new track may be one of an
                earlier segment; None: all.
        """
        self._number = number
        self._segment = segment
        self._memory = memory
        self._end = (segment.stop - overlap, segment.stop)
        self._start = (segment.first_frame, segment.start)
        self._last_start = segment.stop if reach is None else segment.start + reach + 1
        self._frame = segment.first_frame
        self._size = (0, 0)
        self._votes: dict[int, Counter[int]] = defaultdict(Counter)
        self._shown: dict[str, dict[int, PackedMasks]] = {"head": {}, "tail": {}}
        self._head: dict[int, BoundaryTrack] = {}

    def add(
        self, size: tuple[int, int], named: Instances, track_ids: Tensor, masks: EncodedMasks
    ) -> None:
        """Notes one frame after the associator has named it; to be called for every frame.

        Args:
            size: Height and width of the frame; which one it is, the number of calls says.
            named: N instances.
            track_ids: (N,) int64.
            masks: N of that size.
        """
        self._size = size
        ids = track_ids.tolist()
        for track_id, label in zip(ids, named.labels.tolist(), strict=True):
            self._votes[track_id][label] += 1
        for side, (start, stop) in (("head", self._start), ("tail", self._end)):
            if start <= self._frame < stop:
                self._show(self._shown[side], ids, masks)
        if self._frame == self._segment.start - 1:
            self._head = {track.track_id: track for track in self._in_memory("head")}
        elif self._segment.start <= self._frame < self._last_start:
            self._note_starts(ids)
        self._frame += 1

    @property
    def head(self) -> SegmentBoundary:
        """What it knows at its seam with the segment before."""
        return SegmentBoundary(self._size, self._start, tuple(self._head.values()))

    @property
    def tail(self) -> SegmentBoundary:
        """What it knows at its seam with the segment after, once all frames were added."""
        assert self._frame == self._segment.stop, f"{self._segment} at frame {self._frame}"
        return SegmentBoundary(self._size, self._end, tuple(self._in_memory("tail")))

    def _show(self, shown: dict[int, PackedMasks], ids: list[int], masks: EncodedMasks) -> None:
        """Keeps the run lengths of the tracks that show a pixel in the present frame."""
        for track_id, area, counts in zip(ids, masks.areas, masks.counts, strict=True):
            if area:
                shown.setdefault(track_id, PackedMasks()).show(self._frame, counts)

    def _in_memory(self, side: str) -> list[BoundaryTrack]:
        """Describes all tracks that the memory holds."""
        if not len(self._memory):
            return []
        unseen = self._memory.unseen.tolist() if side == "tail" else [0] * len(self._memory)
        return [
            self._described(track_id, embedding, away, self._shown[side].get(track_id))
            for track_id, embedding, away in zip(
                self._memory.ids.tolist(), self._embeddings(), unseen, strict=True
            )
        ]

    def _note_starts(self, ids: list[int]) -> None:
        """Describes the tracks that are named for the first time after the overlap."""
        fresh = [track_id for track_id in ids if track_id not in self._head]
        if not fresh or not self._segment.warmup:
            return
        embeddings = self._embeddings()
        row_of = {track_id: row for row, track_id in enumerate(self._memory.ids.tolist())}
        away = self._frame - self._segment.start
        for track_id in fresh:
            embedding = embeddings[row_of[track_id]]
            self._head[track_id] = self._described(track_id, embedding, away, None)

    def _described(
        self, track_id: int, embedding: np.ndarray, away: int, masks: PackedMasks | None
    ) -> BoundaryTrack:
        label = min(self._votes[track_id].items(), key=lambda vote: (-vote[1], vote[0]))[0]
        masks = masks or PackedMasks()
        return BoundaryTrack(self._number, track_id, label, embedding, away, masks)

    def _embeddings(self) -> np.ndarray:
        """(M, C) float32 what the memory compares with."""
        values: np.ndarray = self._memory.read().float().cpu().numpy()
        return values.copy()
