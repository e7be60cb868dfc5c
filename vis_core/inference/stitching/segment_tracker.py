"""Names segments of a long video apart, with an associator each, and stitches what they found.

For clusters whose networks together see more frames a second than one associator can name. What
``OnlineTracker.associate_predictions`` gives in one pass is exact; this is not, so each join states
how sure it is.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vis_core.association.associator import Associator
from vis_core.config.inference import TrackConfig
from vis_core.config.stitching import StitchConfig
from vis_core.inference.packed_tracks import MaskSink
from vis_core.inference.predictions import FramePrediction, associate_frame
from vis_core.inference.stitching.boundary import SegmentBoundary
from vis_core.inference.stitching.joins import Join, stitch_segments, stitched_ids
from vis_core.inference.stitching.recorder import BoundaryRecorder
from vis_core.inference.stitching.segments import Segment
from vis_core.inference.track_builder import ListedTrack, TrackBuilder
from vis_core.inference.track_state import (
    TrackState,
    joined_parts,
    pack_states,
    split_parts,
    unpack_states,
)


@dataclass(frozen=True)
class TrackedSegment:
    """Is a segment whose instances have identities of its own.

    Attributes:
        head: What it knows at its seam with the segment before.
        tail: What it knows at its seam with the segment after.
        sums: Of its tracks over the frames of its output, by their ids.
    """

    head: SegmentBoundary
    tail: SegmentBoundary
    sums: dict[int, TrackState]

    def to_tensors(self) -> dict[str, Tensor]:
        """Gives all of it as tensors, bit by bit."""
        sides = {"head": self.head.to_arrays(), "tail": self.tail.to_arrays()}
        parts = {
            side: {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
            for side, arrays in sides.items()
        }
        return joined_parts({**parts, "sums": pack_states(self.sums)})

    @classmethod
    def from_tensors(cls, packed: Mapping[str, Tensor]) -> "TrackedSegment":
        """Makes of the tensors of ``to_tensors`` what they were.

        Raises:
            StorageError: They do not go together.
        """
        parts = split_parts(packed)
        head, tail = (
            SegmentBoundary.from_arrays(
                {name: tensor.numpy() for name, tensor in parts[side].items()}
            )
            for side in ("head", "tail")
        )
        return cls(head, tail, unpack_states(parts["sums"]))


class SegmentTracker:
    """Names the frames of one segment, those of its warm-up first.

    Args:
        associator: Without a past.
        number: Of the segment, from 0.
        segment: What is named.
        overlap: Frames at its end that the next segment names too.
        size: Height and width of the video.
        tracks: Which tracks are kept, how they are scored and labelled.
        stitch: How far apart two tracks may be to be joined.
        sink: Takes the masks of the frames of its output.
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
        """Goes on by some frames.

        Args:
            first: Index of the first of them in the video.
            frames: What was found in them.
        """
        for index, frame in enumerate(frames, first):
            named, track_ids, masks = associate_frame(frame, self._associator)
            self._recorder.add(self._size, named, track_ids, masks)
            if index >= self._segment.start:
                self._builder.add_encoded(index, named, track_ids, masks)

    def named(self) -> TrackedSegment:
        """Gives what is known after the last frame."""
        return TrackedSegment(self._recorder.head, self._recorder.tail, self._builder.sums)


@dataclass(frozen=True)
class StitchedVideo:
    """Is the tracks of a video whose segments were named apart.

    Attributes:
        tracks: Best score first.
        serials: For each segment, the serial that each of its own serials has in the video; those
            of tracks that have left are not there.
        joins: With the id in the video of the track that each made.
    """

    tracks: list[ListedTrack]
    serials: list[dict[int, int]]
    joins: list[tuple[int, Join]]


def stitch_tracked(
    segments: Sequence[TrackedSegment],
    size: tuple[int, int],
    num_frames: int,
    tracks: TrackConfig,
    stitch: StitchConfig,
) -> StitchedVideo:
    """Joins the tracks of named segments.

    Args:
        segments: Of one video, in order of time.
        size: Height and width of the video.
        num_frames: Of the video.
        tracks: Which tracks are kept, how they are scored and labelled.
        stitch: How they are joined, see ``StitchConfig.following``.
    """
    seams = [(a.tail, b.head) for a, b in zip(segments, segments[1:], strict=False)]
    joins = stitch_segments(seams, stitch)
    ids = stitched_ids([_first_frames(own.sums) for own in segments], joins)
    lives: dict[int, list[TrackState]] = {}
    for (segment, track_id), whole in ids.items():
        lives.setdefault(whole, []).append(segments[segment].sums[track_id])
    builder = TrackBuilder(*size, tracks)
    builder.join(lives, num_frames)
    serial_of = {track_id: sums.serial for track_id, sums in builder.sums.items()}
    serials: list[dict[int, int]] = [{} for _ in segments]
    for (segment, track_id), whole in ids.items():
        serials[segment][segments[segment].sums[track_id].serial] = serial_of[whole]
    return StitchedVideo(builder.listed(), serials, _joins_in_output(joins, ids))


def _first_frames(sums: Mapping[int, TrackState]) -> dict[int, int]:
    """When each track is seen first in the output of its segment."""
    return {
        track_id: own.first_shown if own.num_shown else own.last_named
        for track_id, own in sums.items()
    }


def _joins_in_output(
    joins: Iterable[Join], ids: Mapping[tuple[int, int], int]
) -> list[tuple[int, Join]]:
    """Leaves out joins of tracks that show in no frame of the output of the later segment."""
    return [(ids[join.after], join) for join in joins if join.after in ids]
