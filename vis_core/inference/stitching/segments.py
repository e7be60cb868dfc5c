"""Cuts a long video into overlapping segments for several workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Segment:
    """A part of a video that is processed with its own associator."""

    start: int  # first output frame
    stop: int  # end of the output (exclusive)
    warmup: int  # frames before ``start`` that are also processed, for the memory and the join

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def first_frame(self) -> int:
        """The first processed frame."""
        return self.start - self.warmup


def cut_at(bounds: Sequence[int], overlap: int) -> list[Segment]:
    """Returns the segments between bounds, each with up to ``overlap`` earlier frames as warm-up.

    The bounds, in ascending order, are 0, the start of each later segment, and the video's end. A
    warm-up may reach back over several segments.
    """
    return [Segment(first, last, min(overlap, first)) for first, last in pairwise(bounds)]
