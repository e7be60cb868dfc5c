"""What actors are given to do: whole videos, segments of long ones, and the naming of segments.

A video that is cut goes through two steps, or three: its segments are seen; if they are stitched,
each is named by itself; then the whole video is named, or the segments are joined.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.annotation.archive.listing import ArchivedVideo
from pipelines.annotation.options import Segments

# Of a segment that "auto" cuts: about 2,000 frames of a small video; a block is half of that.
MIN_SEGMENT_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Work:
    """Is what one actor does at a time.

    Attributes:
        video: Of which video.
        segment: Which of its segments is seen or named; None: the whole video is annotated or, if
            it has segments, what they have seen is named, what they have named is joined.
        num_segments: Of the video.
        named: Whether the segment, which all workers have seen, is named by itself.
    """

    video: ArchivedVideo
    segment: int | None = None
    num_segments: int = 1
    named: bool = False

    @property
    def size(self) -> float:
        """Bytes of the video that it is about; naming takes next to nothing."""
        if self.num_segments == 1:
            return self.video.size
        unseen = self.segment is not None and not self.named
        return self.video.size / self.num_segments if unseen else 0.0

    @property
    def shown(self) -> str:
        """In words, on one line."""
        if self.num_segments == 1:
            return self.video.shown
        if self.segment is None:
            return f"{self.video.shown} (naming)"
        what = "naming of segment" if self.named else "segment"
        return f"{self.video.shown} ({what} {self.segment + 1} of {self.num_segments})"


class WorkQueue:
    """Hands out work, longest first; the naming of a video when all its segments are seen."""

    def __init__(
        self,
        videos: Sequence[ArchivedVideo],
        num_segments: Mapping[str, int],
        stitched: bool = False,
    ) -> None:
        """Starts with everything to do.

        Args:
            videos: What is to be annotated.
            num_segments: Of each, by its key.
            stitched: Whether segments are named by themselves, and then joined.
        """
        self._stitched = stitched
        works = [work for video in videos for work in _works(video, num_segments[video.key])]
        self._works = deque(sorted(works, key=lambda w: (-w.size, w.video.key, w.segment or 0)))
        self._open: Counter[str] = Counter(work.video.key for work in works)  # of the present step
        self._closed: set[str] = set()
        self._suspects: deque[Work] = deque()  # to be done alone
        self._alone: set[Work] = set()  # of these, those that are being done

    def __len__(self) -> int:
        return len(self._works) + len(self._suspects)

    def take(self, beside: Sequence[Work] = ()) -> Work | None:
        """Gives what is to be done next; None if a worker is to do nothing more for now.

        Args:
            beside: What the worker does meanwhile.
        """
        if self._suspects:
            if beside:
                return None
            work = self._suspects.popleft()
            self._alone.add(work)
            return work
        if not self._works or any(work in self._alone for work in beside):
            return None
        return self._works.popleft()

    def do_alone(self, works: Sequence[Work]) -> None:
        """Takes back what one worker did when it was lost: one of it may have been the reason."""
        self._suspects.extend(work for work in works if not self.is_closed(work.video))

    def done(self, work: Work) -> None:
        """Takes note of a segment that is seen, or named; the last one opens the next step."""
        video, count = work.video, work.num_segments
        self._open[video.key] -= 1
        if self._open[video.key] or self.is_closed(video):
            return
        if self._stitched and not work.named:
            self._open[video.key] = count
            own = [Work(video, number, count, named=True) for number in range(count)]
            self._works.extendleft(reversed(own))
        else:
            self._works.appendleft(Work(video, None, count))

    def again(self, work: Work) -> None:
        """Takes back what was not done; before names are given again, all segments are looked at.

        What is seen of them takes no time.
        """
        if self.is_closed(work.video):
            return
        if work in self._alone:
            self._suspects.appendleft(work)
            return
        if work.segment is not None or work.num_segments == 1:
            self._works.appendleft(work)
            return
        self._open[work.video.key] = work.num_segments
        self._works.extendleft(reversed(_works(work.video, work.num_segments)))

    def is_closed(self, video: ArchivedVideo) -> bool:
        """Whether the outcome of a video is known."""
        return video.key in self._closed

    def close(self, video: ArchivedVideo) -> bool:
        """Drops what is left to do of a video; says whether it was still open."""
        was_open = not self.is_closed(video)
        self._closed.add(video.key)
        self._works = deque(work for work in self._works if work.video.key != video.key)
        self._suspects = deque(work for work in self._suspects if work.video.key != video.key)
        return was_open


def num_segments(videos: Sequence[ArchivedVideo], wanted: Segments, workers: int) -> dict[str, int]:
    """Says into how many segments each video is cut.

    Args:
        videos: What is to be annotated.
        wanted: Segments of each; "auto" cuts those that would keep one worker busy when all others
            have nothing left, into no smaller segments than ``MIN_SEGMENT_BYTES``.
        workers: That work at once.
    """
    if wanted != "auto":
        return {video.key: wanted for video in videos}
    share = max(1.0, sum(video.size for video in videos) / workers)
    return {
        video.key: max(1, min(workers, video.size // MIN_SEGMENT_BYTES, -int(-video.size // share)))
        for video in videos
    }


def _works(video: ArchivedVideo, count: int) -> list[Work]:
    if count == 1:
        return [Work(video)]
    return [Work(video, number, count) for number in range(count)]
