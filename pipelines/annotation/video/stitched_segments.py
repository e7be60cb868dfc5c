"""Names the segments of a long video on several workers, and joins what they have named.

    unfinished/<name of the result>/named-<number>/   rows and tracks of one segment

Segments are cut at blocks (``prediction_store.py``). Where, and so the result, depends on the
number of segments and on the file alone, not on who does what, or how often.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import torch

from pipelines.annotation.video.prediction_store import PredictionStore, VideoEnd
from pipelines.annotation.video.resume import UnfinishedVideo
from pipelines.annotation.video.segments import frames_to_annotate, segment_range
from pipelines.annotation.video.whole_video import ProcessedVideo, ended_tracks, played_s
from vis_core.association.associator import Associator
from vis_core.config.inference import InferenceConfig
from vis_core.config.stitching import StitchConfig
from vis_core.formats.mask_table import MaskRows, renumbered
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
    """Says which frames each segment names; those of a video with fewer blocks are fewer.

    Args:
        end: Of the video, once it is seen.
        count: Of segments wanted.
        block_frames: Frames of a block.
        overlap: Frames before its own that a segment names too, at most.
        config: How the video is walked through.
        max_frames: Frames that are annotated; None means all.
    """
    expected = frames_to_annotate(end.info, config.sample_fps, max_frames)
    starts = [segment_range(expected, number, count, block_frames)[0] for number in range(count)]
    bounds = sorted({start for start in starts if start < end.num_frames} | {end.num_frames})
    return cut_at(bounds, overlap)


class StitchedSegments:
    """Names segments and joins them.

    Args:
        system: Names instances.
        config: How videos are walked through; with one view at most.
        max_frames: Frames that are annotated; None means all.
        stitch: How segments are joined.
    """

    def __init__(
        self,
        system: FrameSystem,
        config: InferenceConfig,
        max_frames: int | None,
        stitch: StitchConfig,
    ) -> None:
        (view,) = View.of(config.views)
        self._system = view.seen_by(system)
        self._config = config
        self._max_frames = max_frames
        self._stitch = stitch

    def associate(self, blocks: PredictionStore, number: int, count: int) -> None:
        """Names one segment and stores what it gives, unless that is there.

        Nothing is stored if a block is missing: ``join`` will miss the segment.

        Args:
            blocks: What all segments have seen.
            number: Of the segment, from 0.
            count: Of segments of the video.

        Raises:
            StorageError: The results cannot be reached.
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
        naming = SegmentTracker(
            self._associator(),
            number,
            segment,
            overlap,
            end.size,
            self._config.tracks,
            self._stitch,
            rows,
        )
        for block in blocks.whole(segment.first_frame, segment.stop, end.num_frames):
            if block is None:
                return
            begin = max(block.first, segment.first_frame)
            skipped = begin - block.first
            naming.associate(begin, block.frames[skipped:])
            for place in range(max(block.first, segment.start) - block.first, len(block.frames)):
                rows.frame(block.first + place, block.numbers[place], block.times_s[place])
            if block.first >= segment.start:
                times_s = [min([*times_s, *block.times_s]), max([*times_s, *block.times_s])]
                state = {}
                if block.last == segment.stop:
                    state = naming.named().to_tensors()
                    state[_TIMES] = torch.tensor(times_s, dtype=torch.float64)
                out.save(block.last, rows.take(), state)

    def join(self, blocks: PredictionStore, count: int) -> tuple[ProcessedVideo, VideoEnd] | None:
        """Joins the segments of a video.

        Args:
            blocks: Of the video.
            count: Of its segments.

        Returns:
            The video after its last frame, and its end; None if something is missing.
        """
        end = blocks.end()
        if end is None:
            return None
        cuts = self._cuts(end, count, blocks)
        stored = [_finished(blocks, number, segment) for number, segment in enumerate(cuts)]
        found = [own for own in stored if own is not None]
        if len(found) < len(cuts):
            return None
        stitched = stitch_tracked(
            [own.named for own in found],
            end.size,
            end.num_frames,
            self._config.tracks,
            self._stitch.following(self._associator().config),
        )

        def parts() -> Iterator[pa.Table]:
            for own, serials in zip(found, stitched.serials, strict=True):
                for part in own.rows.parts():
                    yield renumbered(part, serials)

        begin_s, end_s = min(own.times_s[0] for own in found), max(own.times_s[1] for own in found)
        walked = ProcessedVideo(
            end.info,
            end.report,
            end.size,
            end.num_frames,
            played_s(begin_s, end_s, end.info),
            ended_tracks(stitched.tracks),
            parts,
            _said(cuts, stitched),
        )
        return walked, end

    def _cuts(self, end: VideoEnd, count: int, blocks: PredictionStore) -> list[Segment]:
        overlap = self._stitch.overlap_frames
        return segment_cuts(
            end, count, blocks.block_frames, overlap, self._config, self._max_frames
        )

    def _associator(self) -> Associator:
        associator = self._system.new_associator()
        assert isinstance(associator, Associator), "stitching compares what a memory holds"
        return associator


def _folder(blocks: PredictionStore, number: int) -> str:
    return f"{blocks.name}/named-{number:04d}"


@dataclass(frozen=True)
class _Finished:
    """Is what is stored of a segment that was named to its end.

    Attributes:
        rows: Of the frames of its output.
        named: Its tracks and seams.
        times_s: Presentation time of its first frame and of its last.
    """

    rows: UnfinishedVideo
    named: TrackedSegment
    times_s: tuple[float, float]


def _finished(blocks: PredictionStore, number: int, segment: Segment) -> _Finished | None:
    """Reads a segment that was named to its end; None if it was not."""
    found = UnfinishedVideo.newest(blocks.storage, _folder(blocks, number))
    if found.num_frames != segment.stop or not found.state:
        return None
    begin_s, end_s = found.state[_TIMES].tolist()
    named = {name: tensor for name, tensor in found.state.items() if name != _TIMES}
    return _Finished(found, TrackedSegment.from_tensors(named), (begin_s, end_s))


def _said(cuts: list[Segment], stitched: StitchedVideo) -> dict[str, Any]:
    """Lays out for the result where the video was cut, and how sure each join is."""
    listed = {track.track_id for track in stitched.tracks}
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
            if track_id in listed
        ],
    }
