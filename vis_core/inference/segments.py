"""Cuts a long video into segments that overlap, so that several workers can walk it at once."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from vis_core.errors import ConfigError

# frames walked twice, of all frames, that "auto" allows at most
MAX_OVERLAP_SHARE = 0.05


@dataclass(frozen=True)
class Segment:
    """Is a part of a video that is walked with an associator of its own.

    Attributes:
        start: First frame of its output.
        stop: Where its output ends (exclusive).
        warmup: Frames before ``start`` that are walked too, for the memory and for the join.
    """

    start: int
    stop: int
    warmup: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def first_frame(self) -> int:
        """The first frame that is walked."""
        return self.start - self.warmup


def plan_segments(
    num_frames: int, num_segments: int | Literal["auto"], overlap: int, workers: int = 1
) -> list[Segment]:
    """Cuts a video so that every frame is in the output of one segment.

    Their lengths differ by one frame at most.

    Args:
        num_frames: Frames of the video.
        num_segments: Segments wanted; "auto" makes one for each worker, but none so short that
            over 5 % of the frames are walked twice (320 frames with an overlap of 16).
        overlap: Frames of the segment before that a segment walks first.
        workers: Segments that can be walked at once; counts for "auto" alone.

    Raises:
        ConfigError: The video is empty, or too short for so many segments.
    """
    for name, value, least in (("num_frames", num_frames, 1), ("overlap", overlap, 1)):
        if value < least:
            raise ConfigError(f"segments: {name} is {value}; expected {least} or more")
    if num_segments == "auto":
        shortest = math.ceil(overlap / MAX_OVERLAP_SHARE)
        count = max(1, min(workers, num_frames // shortest))
    else:
        count = num_segments
    if count < 1:
        raise ConfigError(f"segments: {count} wanted; expected 1 or more, or auto")
    most = max(1, num_frames // overlap)
    if count > most:
        raise ConfigError(
            f"segments: {count} wanted of {num_frames} frames, which leaves a segment fewer frames "
            f"than the {overlap} it shares with the one before; ask for {most} at most, or for auto"
        )
    bounds = [num_frames * place // count for place in range(count + 1)]
    return [Segment(start, stop, overlap if start else 0) for start, stop in pairwise(bounds)]
