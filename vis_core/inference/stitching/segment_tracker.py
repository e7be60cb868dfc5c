"""Associates a long video's segments separately, each with its own associator, and stitches them.

Stitching is for clusters whose networks together process more frames per second than one
associator. The single pass of ``OnlineTracker.associate_predictions`` is exact; stitching is not,
so each join has a confidence.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vis_core.association.associator import Associator
from vis_core.config.inference import TrackConfig
from vis_core.config.stitching import StitchConfig
from vis_core.inference.mask_sink import MaskSink
from vis_core.inference.predictions import FramePrediction, associate_frame
from vis_core.inference.stitching.boundary import SegmentBoundary
from vis_core.inference.stitching.joins import Join, stitch_segments, stitched_ids
from vis_core.inference.stitching.recorder import BoundaryRecorder
from vis_core.inference.stitching.segments import Segment
from vis_core.inference.track_builder import TrackBuilder
from vis_core.inference.track_scores import finished_tracks
from vis_core.inference.track_state import (
    TrackState,
    join_parts,
    merge_states,
    pack_states,
    split_parts,
    unpack_states,
)
from vis_core.structures import Track


@dataclass(frozen=True)
class TrackedSegment:
    """A segment whose track ids are independent of other segments.

    The head is its boundary with the previous segment, the tail its boundary with the next. The
    states are each track's sums over the output frames, by track id.
    """

    head: SegmentBoundary
    tail: SegmentBoundary
    states: dict[int, TrackState]

    def to_tensors(self) -> dict[str, Tensor]:
        """Packs the segment as tensors, bit for bit."""
        sides = {"head": self.head.to_arrays(), "tail": self.tail.to_arrays()}
        parts = {
            side: {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
            for side, arrays in sides.items()
        }
        return join_parts({**parts, "sums": pack_states(self.states)})

    @classmethod
    def from_tensors(cls, packed: Mapping[str, Tensor]) -> "TrackedSegment":
        """Reverses ``to_tensors``; raises StorageError if a tensor is missing or misshapen."""
        parts = split_parts(packed)
        head, tail = (
            SegmentBoundary.from_arrays({name: t.numpy() for name, t in parts[side].items()})
            for side in ("head", "tail")
        )
        return cls(head, tail, unpack_states(parts["sums"]))


class SegmentTracker:
    """The association of one segment's frames, starting with its warm-up.

    The given associator must be new. Segment numbers start at 0; the next segment repeats the last
    ``overlap`` frames. The sink receives only the masks of output frames.
    """

    def __init__(
        self,
        associator: Associator,
        number: int,
        segment: Segment,
        overlap: int,
        size: tuple[int, int],
        tracks: TrackConfig,
        stitch: StitchConfig,
        sink: MaskSink,
    ) -> None:
        self._associator = associator
        self._segment = segment
        self._size = size
        reach = stitch.following(associator.config).reach_frames
        self._recorder = BoundaryRecorder(number, segment, associator.memory, overlap, reach)
        self._builder = TrackBuilder(*size, tracks, sink, first_frame=segment.start)

    def associate(self, first: int, frames: Iterable[FramePrediction]) -> None:
        """Associates the next frames, which start at index ``first`` in the video."""
        for index, frame in enumerate(frames, first):
            instances, track_ids, masks = associate_frame(frame, self._associator)
            self._recorder.add(self._size, instances, track_ids, masks)
            if index >= self._segment.start:
                self._builder.add(index, instances, track_ids, masks)

    def finish(self) -> TrackedSegment:
        """Returns the segment after its last frame."""
        return TrackedSegment(self._recorder.head, self._recorder.tail, self._builder.states)


@dataclass(frozen=True)
class StitchedVideo:
    """The tracks of a video whose segments were associated separately."""

    tracks: list[Track]  # best score first
    # for each segment, a map from its serials to those of the video, without dropped tracks
    serials: list[dict[int, int]]
    joins: list[tuple[int, Join]]  # each join, with the video's id of the resulting track


def stitch_tracked(
    segments: Sequence[TrackedSegment], tracks: TrackConfig, stitch: StitchConfig
) -> StitchedVideo:
    """Joins a video's segments in time order; ``StitchConfig.following`` returns ``stitch``."""
    boundaries = [(a.tail, b.head) for a, b in zip(segments, segments[1:], strict=False)]
    joins = stitch_segments(boundaries, stitch)
    ids = stitched_ids([_first_frames(segment.states) for segment in segments], joins)
    parts: dict[int, list[TrackState]] = {}
    for (segment, track_id), video_id in ids.items():
        parts.setdefault(video_id, []).append(segments[segment].states[track_id])
    states = {
        video_id: merge_states(own, serial, tracks.over_time)
        for serial, (video_id, own) in enumerate(parts.items())
    }
    serials: list[dict[int, int]] = [{} for _ in segments]
    for (segment, track_id), video_id in ids.items():
        serials[segment][segments[segment].states[track_id].serial] = states[video_id].serial
    # a track without an output frame in the later segment has no id in the video
    in_output = [(ids[join.after], join) for join in joins if join.after in ids]
    return StitchedVideo(finished_tracks(states, tracks), serials, in_output)


def _first_frames(states: Mapping[int, TrackState]) -> dict[int, int]:
    return {
        track_id: state.first_shown if state.num_shown else state.last_named
        for track_id, state in states.items()
    }
