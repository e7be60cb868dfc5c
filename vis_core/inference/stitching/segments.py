"""Cuts a long video into overlapping segments for several workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Segment:
    """A part of a video that is processed with its own associator.

    Attributes:
        start: First frame of its output.
        stop: Where its output ends (exclusive).
        warmup: Frames before ``start`` that are processed too, for the memory and for the join.
    """

    start: int
    stop: int
    warmup: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def first_frame(self) -> int:
        """The first frame that is processed."""
        return self.start - self.warmup


def cut_at(bounds: Sequence[int], overlap: int) -> list[Segment]:
    """Returns the segments between bounds, each with frames before its own as warm-up.

    Args:
        bounds: Ascending: 0, the start of each further segment, and the end of the video.
        overlap: Frames of warm-up, also over several segments; fewer if there are fewer.
    """
    return [Segment(first, last, min(overlap, first)) for first, last in pairwise(bounds)]
