"""Associates the segments of a long video on several workers and joins their tracks.

    unfinished/<result name>/named-<number>/   rows and tracks of one segment

Segments are cut at block boundaries (``prediction_store.py``). The cuts, and therefore the result,
depend only on the file and the number of segments, not on workers or restarts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch

from pipelines.annotation.video.prediction_store import PredictionStore, VideoEnd
from pipelines.annotation.video.resume import UnfinishedVideo
from pipelines.annotation.video.segments import frames_to_annotate, segment_range
from pipelines.annotation.video.whole_video import ProcessedVideo, played_s
from vis_core.association.associator import Associator
from vis_core.config.inference import InferenceConfig
from vis_core.formats.mask_table import MaskRows, renumber_serials
from vis_core.inference.frame_predictor import View
from vis_core.inference.protocols import FrameSystem
from vis_core.inference.stitching.segment_tracker import (
    SegmentTracker,
    StitchedVideo,
    TrackedSegment,
    stitch_tracked,
)
from vis_core.inference.stitching.segments import Segment, cut_at

_TIMES = "times_s"


def segment_cuts(
    end: VideoEnd,
    count: int,
    block_frames: int,
    overlap: int,
    config: InferenceConfig,
    max_frames: int | None,
) -> list[Segment]:
    """Returns the segments of a video, fewer than ``count`` if the video has fewer blocks."""
    expected = frames_to_annotate(end.info, config.sample_fps, max_frames)
    starts = [segment_range(expected, number, count, block_frames)[0] for number in range(count)]
    bounds = sorted({start for start in starts if start < end.num_frames} | {end.num_frames})
    return cut_at(bounds, overlap)


@dataclass(frozen=True)
class StitchedSegments:
    """The association and joining of a video's segments, for a config with a single view."""

    system: FrameSystem
    config: InferenceConfig
    max_frames: int | None

    def associate(self, blocks: PredictionStore, number: int, count: int) -> None:
        """Associates one segment and stores its tracks, unless they are already stored.

        If a block is missing, no tracks are stored, and ``join`` finds the segment unfinished.
        """
        end = blocks.end()
        if end is None:
            return
        cuts = self._cuts(end, count, blocks)
        if number >= len(cuts) or _finished(blocks, number, cuts[number]) is not None:
            return
        segment = cuts[number]
        overlap = cuts[number + 1].warmup if number + 1 < len(cuts) else 0
        times_s: list[float] = []
        rows, out = MaskRows(end.size), UnfinishedVideo(blocks.storage, _folder(blocks, number))
        settings = self.config.tracks, self.config.stitching
        tracker = SegmentTracker(
            self._associator(), number, segment, overlap, end.size, *settings, rows
        )
        for block in blocks.complete(segment.first_frame, segment.stop, end.num_frames):
            if block is None:
                return
            begin = max(block.first, segment.first_frame)
            skipped = begin - block.first
            tracker.associate(begin, block.frames[skipped:])
            for place in range(max(block.first, segment.start) - block.first, len(block.frames)):
                rows.close_frame(block.first + place, block.numbers[place], block.times_s[place])
            if block.first >= segment.start:
                times_s = [min([*times_s, *block.times_s]), max([*times_s, *block.times_s])]
                state = {}
                if block.last == segment.stop:
                    state = tracker.finish().to_tensors()
                    state[_TIMES] = torch.tensor(times_s, dtype=torch.float64)
                out.save(block.last, rows.take(), state)

    def join(self, blocks: PredictionStore, count: int) -> tuple[ProcessedVideo, VideoEnd] | None:
        """Joins a video's segments; returns None if any of them is unfinished."""
        end = blocks.end()
        if end is None:
            return None
        cuts = self._cuts(end, count, blocks)
        stored = [_finished(blocks, number, segment) for number, segment in enumerate(cuts)]
        finished = [segment for segment in stored if segment is not None]
        if len(finished) < len(cuts):
            return None
        stitched = stitch_tracked(
            [segment.tracked for segment in finished],
            self.config.tracks,
            self.config.stitching.following(self._associator().config),
        )

        def parts() -> Iterator[pa.Table]:
            for segment, serials in zip(finished, stitched.serials, strict=True):
                for part in segment.rows.parts():
                    yield renumber_serials(part, serials)

        begin_s = min(segment.times_s[0] for segment in finished)
        end_s = max(segment.times_s[1] for segment in finished)
        facts = end.info, end.report, end.size, end.num_frames, played_s(begin_s, end_s, end.info)
        document = _stitching_document(cuts, stitched)
        return ProcessedVideo(*facts, stitched.tracks, parts, document), end

    def _cuts(self, end: VideoEnd, count: int, blocks: PredictionStore) -> list[Segment]:
        block_frames, overlap = blocks.block_frames, self.config.stitching.overlap_frames
        return segment_cuts(end, count, block_frames, overlap, self.config, self.max_frames)

    def _associator(self) -> Associator:
        (view,) = View.of(self.config)
        associator = view.applied_to(self.system).new_associator()
        assert isinstance(associator, Associator), "stitching compares the memories of segments"
        return associator


def _folder(blocks: PredictionStore, number: int) -> str:
    return f"{blocks.name}/named-{number:04d}"


@dataclass(frozen=True)
class _Finished:
    """A segment after its association."""

    rows: UnfinishedVideo  # rows of the segment's output frames
    tracked: TrackedSegment  # tracks and boundaries of the segment
    times_s: tuple[float, float]  # presentation times of its first and last frames


def _finished(blocks: PredictionStore, number: int, segment: Segment) -> _Finished | None:
    """Reads a segment; returns None if its association is unfinished."""
    rows = UnfinishedVideo.newest(blocks.storage, _folder(blocks, number))
    if rows.num_frames != segment.stop or not rows.state:
        return None
    begin_s, end_s = rows.state[_TIMES].tolist()
    tensors = {name: tensor for name, tensor in rows.state.items() if name != _TIMES}
    return _Finished(rows, TrackedSegment.from_tensors(tensors), (begin_s, end_s))


def _stitching_document(cuts: list[Segment], stitched: StitchedVideo) -> dict[str, Any]:
    """Builds the result's section with the cuts and the confidence of each join."""
    kept_ids = {track.track_id for track in stitched.tracks}
    joins = sorted(stitched.joins, key=lambda pair: (pair[1].after[0], pair[0]))
    return {
        "segments": [{"first_frame": cut.start, "warmup_frames": cut.warmup} for cut in cuts],
        "joins": [
            {
                "frame": cuts[join.after[0]].start,
                "track_id": track_id,
                "confidence": join.confidence,
                "mask_iou": join.mask_iou,
                "similarity": join.similarity,
            }
            for track_id, join in joins
            if track_id in kept_ids
        ],
    }
