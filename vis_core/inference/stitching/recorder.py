"""Records a segment's boundaries with its neighbours while it is processed."""

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
    """The boundaries of one segment; their size depends on the number of tracks, not of frames."""

    def __init__(
        self,
        number: int,
        segment: Segment,
        memory: MemoryBank,
        overlap: int,
        reach: int | None = None,
    ) -> None:
        """Starts before the first frame; the next segment repeats the last ``overlap`` frames.

        A new track may continue a track of an earlier segment if it starts at most ``reach`` frames
        after the start of the output; None means no limit.
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
        self._masks: dict[str, dict[int, PackedMasks]] = {
            side: defaultdict(PackedMasks) for side in ("head", "tail")
        }
        self._head: dict[int, BoundaryTrack] = {}

    def add(
        self, size: tuple[int, int], instances: Instances, track_ids: Tensor, masks: EncodedMasks
    ) -> None:
        """Records one frame with N associated instances; call it for every frame in order.

        ``size`` is the height and width of the frame and its masks.
        """
        self._size = size
        ids = track_ids.tolist()
        for track_id, label in zip(ids, instances.labels.tolist(), strict=True):
            self._votes[track_id][label] += 1
        for side, (start, stop) in (("head", self._start), ("tail", self._end)):
            if start <= self._frame < stop:
                for track_id, area, counts in zip(ids, masks.areas, masks.counts, strict=True):
                    if area:
                        self._masks[side][track_id].add(self._frame, counts)
        if self._frame == self._segment.start - 1:
            self._head = {track.track_id: track for track in self._in_memory("head")}
        elif self._segment.start <= self._frame < self._last_start:
            self._add_new_tracks(ids)
        self._frame += 1

    @property
    def head(self) -> SegmentBoundary:
        """The boundary with the previous segment."""
        return SegmentBoundary(self._size, self._start, tuple(self._head.values()))

    @property
    def tail(self) -> SegmentBoundary:
        """The boundary with the next segment, once all frames have been added."""
        assert self._frame == self._segment.stop, f"{self._segment} at frame {self._frame}"
        return SegmentBoundary(self._size, self._end, tuple(self._in_memory("tail")))

    def _in_memory(self, side: str) -> list[BoundaryTrack]:
        if not len(self._memory):
            return []
        unseen = self._memory.unseen.tolist() if side == "tail" else [0] * len(self._memory)
        return [
            self._boundary_track(track_id, embedding, away, self._masks[side].get(track_id))
            for track_id, embedding, away in zip(
                self._memory.ids.tolist(), self._embeddings(), unseen, strict=True
            )
        ]

    def _add_new_tracks(self, ids: list[int]) -> None:
        """Adds tracks that start after the overlap to the head."""
        new = [track_id for track_id in ids if track_id not in self._head]
        if not new or not self._segment.warmup:
            return
        embeddings = self._embeddings()
        row_of = {track_id: row for row, track_id in enumerate(self._memory.ids.tolist())}
        away = self._frame - self._segment.start
        for track_id in new:
            embedding = embeddings[row_of[track_id]]
            self._head[track_id] = self._boundary_track(track_id, embedding, away, None)

    def _boundary_track(
        self, track_id: int, embedding: np.ndarray, away: int, masks: PackedMasks | None
    ) -> BoundaryTrack:
        label = min(self._votes[track_id].items(), key=lambda vote: (-vote[1], vote[0]))[0]
        masks = masks or PackedMasks()
        return BoundaryTrack(self._number, track_id, label, embedding, away, masks)

    def _embeddings(self) -> np.ndarray:
        """(M, C) float32, as the memory compares them."""
        values: np.ndarray = self._memory.read().float().cpu().numpy()
        return values.copy()
