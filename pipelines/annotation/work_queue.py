"""The actors' work queue: whole videos, segments of long videos, and their association.

A cut video passes through two or three stages. First its segments are predicted. For stitching,
each segment is then associated separately. Finally, the video is associated, or its segments are
joined.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.annotation.archive.listing import ArchivedVideo
from pipelines.annotation.options import Segments

# Minimum segment size for "auto": about 2,000 frames of a small video, or two blocks.
MIN_SEGMENT_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Work:
    """One work item for an actor."""

    video: ArchivedVideo
    # the segment to predict or associate; None means to annotate an uncut video, or to associate
    # or join the segments of a cut one
    segment: int | None = None
    num_segments: int = 1
    # whether to associate the segment separately, after all segments have been predicted
    named: bool = False

    @property
    def size(self) -> float:
        """The bytes of video to predict; 0 for association, which takes almost no time."""
        if self.num_segments == 1:
            return self.video.size
        is_predicted = self.segment is not None and not self.named
        return self.video.size / self.num_segments if is_predicted else 0.0

    @property
    def shown(self) -> str:
        """A one-line description of the work."""
        if self.num_segments == 1:
            return self.video.shown
        if self.segment is None:
            return f"{self.video.shown} (association)"
        stage = "association of segment" if self.named else "segment"
        return f"{self.video.shown} ({stage} {self.segment + 1} of {self.num_segments})"


class WorkQueue:
    """The remaining work, largest first; a video's next stage starts when its current one ends."""

    def __init__(
        self,
        videos: Sequence[ArchivedVideo],
        num_segments: Mapping[str, int],
        stitched: bool = False,
    ) -> None:
        self._stitched = stitched
        works = [work for video in videos for work in _works(video, num_segments[video.key])]
        self._works = deque(sorted(works, key=lambda w: (-w.size, w.video.key, w.segment or 0)))
        # unfinished work items of each video's current stage
        self._open: Counter[str] = Counter(work.video.key for work in works)
        self._closed: set[str] = set()
        self._suspects: deque[Work] = deque()  # work items to process alone
        self._alone: set[Work] = set()  # suspects in progress

    def __len__(self) -> int:
        return len(self._works) + len(self._suspects)

    def take(self, beside: Sequence[Work] = ()) -> Work | None:
        """Returns the next work item; None if no item may run at the same time as ``beside``."""
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
        """Queues a lost worker's items to run one by one, since any of them may be the cause."""
        self._suspects.extend(work for work in works if not self.is_closed(work.video))

    def done(self, work: Work) -> None:
        """Records a finished segment; the last one of a stage starts the next stage."""
        video, count = work.video, work.num_segments
        self._open[video.key] -= 1
        if self._open[video.key] or self.is_closed(video):
            return
        if self._stitched and not work.named:
            self._open[video.key] = count
            stage = [Work(video, number, count, named=True) for number in range(count)]
            self._works.extendleft(reversed(stage))
        else:
            self._works.appendleft(Work(video, None, count))

    def again(self, work: Work) -> None:
        """Puts failed work back in the queue.

        If association failed, the video's segments are repeated, but only missing predictions are
        computed again.
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
        """Returns whether a video's outcome is known."""
        return video.key in self._closed

    def close(self, video: ArchivedVideo) -> bool:
        """Drops a video's remaining work; returns whether the video was still open."""
        was_open = not self.is_closed(video)
        self._closed.add(video.key)
        self._works = deque(work for work in self._works if work.video.key != video.key)
        self._suspects = deque(work for work in self._suspects if work.video.key != video.key)
        return was_open


def num_segments(videos: Sequence[ArchivedVideo], wanted: Segments, workers: int) -> dict[str, int]:
    """Returns each video's number of segments, by key.

    With "auto", a video that is larger than one worker's share of all bytes is cut into segments of
    at least ``MIN_SEGMENT_BYTES``.
    """
    if wanted != "auto":
        return {video.key: wanted for video in videos}
    share = max(1.0, sum(video.size for video in videos) / workers)
    return {
        video.key: max(1, min(workers, video.size // MIN_SEGMENT_BYTES, -int(-video.size // share)))
        for video in videos
    }


def _works(video: ArchivedVideo, count: int) -> list[Work]:
    return [Work(video, number, count) for number in range(count)] if count > 1 else [Work(video)]
