"""Cuts a long video into segments that overlap, so that several workers can walk it at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


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


def cut_at(bounds: Sequence[int], overlap: int) -> list[Segment]:
    """Makes the segments between bounds; each walks frames before its own too.

    These may be of several segments: the one before it has walked them all, as its own warm-up.

    Args:
        bounds: Ascending: 0, where each segment but the first begins, and the end of the video.
        overlap: Frames before its own that a segment walks first; fewer if there are fewer.
    """
    return [Segment(first, last, min(overlap, first)) for first, last in pairwise(bounds)]
