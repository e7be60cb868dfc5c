"""Draws a few videos of an archive, and says from them what all of them hold.

A video is the likelier drawn the larger it is, since few large videos hold most of the frames; the
largest are certain. The draw is systematic down the list of sizes, which spreads it over all of
them as strata would (Madow 1949). Totals are ratio estimates over bytes with Hájek's variance
(Särndal, Swensson, Wretman: Model Assisted Survey Sampling, 1992, ch. 5.6 and 7.3). Pure: opens
nothing.
"""

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from scipy.special import stdtrit

from pipelines.annotation.archive.listing import ArchivedVideo

LEVEL = 0.9  # of every interval


@dataclass(frozen=True)
class DrawnVideo:
    """Is one video of a sample.

    Attributes:
        video: The video.
        probability: With which it was to be drawn, in (0, 1].
    """

    video: ArchivedVideo
    probability: float

    @property
    def is_certain(self) -> bool:
        """Whether every draw holds it, so that it speaks for itself alone."""
        return self.probability >= 1


@dataclass(frozen=True)
class ArchiveSample:
    """Is a draw of an archive.

    Attributes:
        drawn: The sample, largest first.
        others: The videos that were not drawn.
        empty: Videos of no bytes: nobody needs to open them.
    """

    drawn: list[DrawnVideo]
    others: list[ArchivedVideo] = field(default_factory=list)
    empty: list[ArchivedVideo] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left undrawn."""
        return not self.others


@dataclass(frozen=True)
class Estimate:
    """Is a total of an archive.

    Attributes:
        value: The best guess.
        low: Lower end of the interval of ``LEVEL``.
        high: Upper end; None if the sample is too small to have one.
    """

    value: float
    low: float
    high: float | None

    def scaled(self, factor: float) -> "Estimate":
        """The same in another unit."""
        high = None if self.high is None else self.high * factor
        return Estimate(self.value * factor, self.low * factor, high)

    def to_json(self) -> dict[str, float | None]:
        """The estimate for programs."""
        return {"value": self.value, "low": self.low, "high": self.high}


def draw_sample(videos: Sequence[ArchivedVideo], count: int, seed: int) -> ArchiveSample:
    """Draws ``count`` videos, or all if there are no more.

    Args:
        videos: The archive.
        count: Size of the sample, at least 1.
        seed: Of the draw.
    """
    assert count >= 1, f"count must be positive: {count}"
    empty = [video for video in videos if video.size == 0]
    ranked = sorted(
        (video for video in videos if video.size > 0), key=lambda video: (-video.size, video.key)
    )
    probabilities = _probabilities([video.size for video in ranked], count)
    start = random.Random(seed).random()
    drawn: list[DrawnVideo] = []
    others: list[ArchivedVideo] = []
    reached, point = 0.0, start
    for video, probability in zip(ranked, probabilities, strict=True):
        if probability >= 1:
            drawn.append(DrawnVideo(video, 1.0))
            continue
        reached += probability
        if point < reached:
            drawn.append(DrawnVideo(video, probability))
            point += 1
        else:
            others.append(video)
    return ArchiveSample(drawn, others, empty)


def _probabilities(sizes: Sequence[int], count: int) -> list[float]:
    """(N,) how likely each video is to be drawn; the sizes are sorted, largest first.

    In proportion to bytes plus their mean: bytes alone would all but leave out small videos, and
    one of them, drawn by chance, would speak for far too many.
    """
    mean = sum(sizes) / max(1, len(sizes))
    weights = [size + mean for size in sizes]
    total, certain = math.fsum(weights), 0
    while certain < min(count, len(sizes)) and weights[certain] * (count - certain) >= total:
        total = math.fsum(weights[certain + 1 :])
        certain += 1
    rest = [weight * (count - certain) / total for weight in weights[certain:]]
    return [1.0] * certain + rest


def estimate_total(
    sample: ArchiveSample, values: Sequence[float], *, by_bytes: bool = True
) -> Estimate:
    """Says what the archive holds of something that each drawn video has some of.

    What certain videos have is counted; the others have as much for each byte, or for each video,
    as those of the sample that are not certain. Exact if all were drawn.

    Args:
        sample: The draw.
        values: (n,) what each drawn video has, 0 or more.
        by_bytes: Whether a video of twice the bytes is expected to have twice as much.
    """
    rows = list(zip(sample.drawn, values, strict=True))
    seen = math.fsum(values)
    if sample.is_whole:
        return Estimate(seen, seen, seen)
    rest = [_Row(drawn, value, by_bytes) for drawn, value in rows if not drawn.is_certain]
    certain = math.fsum(value for drawn, value in rows if drawn.is_certain)
    undrawn = math.fsum(video.size if by_bytes else 1 for video in sample.others)
    uncertain = _ratio(rest) * (undrawn + math.fsum(row.size for row in rest))
    spread = _relative_spread(rest)
    return Estimate(
        certain + uncertain,
        max(seen, certain + uncertain * math.exp(-spread)),
        certain + uncertain * math.exp(spread) if math.isfinite(spread) else None,
    )


def predict_each(sample: ArchiveSample, values: Sequence[float]) -> list[float]:
    """Says what each video that is not empty has: what was seen, or its bytes' share of the rest.

    Args:
        sample: The draw.
        values: (n,) what each drawn video has, 0 or more.
    """
    rows = list(zip(sample.drawn, values, strict=True))
    rest = [_Row(drawn, value) for drawn, value in rows if not drawn.is_certain]
    ratio = 0.0 if sample.is_whole else _ratio(rest)
    return [*values, *(ratio * video.size for video in sample.others)]


def time_of_schedule(seconds: Sequence[float], num_workers: int) -> float:
    """Says when the last of some workers ends, who take the longest task that is left in turn.

    Args:
        seconds: (N,) what each task takes.
        num_workers: Workers, at least 1.
    """
    free_at = [0.0] * num_workers
    for task in sorted(seconds, reverse=True):
        heapq.heapreplace(free_at, free_at[0] + task)
    return max(free_at)


class _Row:
    """Is a drawn video with what it has and its size in the unit of the ratio."""

    def __init__(self, drawn: DrawnVideo, value: float, by_bytes: bool = True) -> None:
        self.size = drawn.video.size if by_bytes else 1
        self.value = value
        self.probability = drawn.probability


def _ratio(rows: Sequence[_Row]) -> float:
    """What there is for each unit of size; each row speaks for the videos that it was drawn of."""
    return math.fsum(row.value / row.probability for row in rows) / math.fsum(
        row.size / row.probability for row in rows
    )


def _relative_spread(rows: Sequence[_Row]) -> float:
    """Half the width of the interval of a ratio, in logarithms, where totals are less skewed.

    Infinite if one row, or rows that have nothing, leave it open.
    """
    ratio = _ratio(rows)
    if len(rows) < 2 or ratio == 0:
        return math.inf
    errors = [(row.value - ratio * row.size) / row.probability for row in rows]
    weights = [1 - row.probability for row in rows]
    mean = sum(w * error for w, error in zip(weights, errors, strict=True)) / math.fsum(weights)
    squares = sum(w * (error - mean) ** 2 for w, error in zip(weights, errors, strict=True))
    deviation = math.sqrt(squares * len(rows) / (len(rows) - 1))
    quantile = float(stdtrit(len(rows) - 1, (1 + LEVEL) / 2))
    return quantile * deviation / math.fsum(row.value / row.probability for row in rows)
