"""Work is assigned largest first, and association starts once all segments are predicted."""

from pipelines.annotation.archive.listing import ArchivedVideo
from pipelines.annotation.work_queue import MIN_SEGMENT_BYTES, Work, WorkQueue, num_segments

OTHER = ArchivedVideo("other.mp4", 5, "c")
SMALL, LARGE = ArchivedVideo("small.mp4", 10, "a"), ArchivedVideo("large.mp4", 24, "b")


def taken(queue: WorkQueue) -> list[tuple[str, int | None]]:
    works = [queue.take() for _ in range(len(queue))]
    return [(work.video.key, work.segment) for work in works]


def test_the_longest_comes_first_and_segments_count_for_themselves():
    whole = WorkQueue([SMALL, LARGE], {"small.mp4": 1, "large.mp4": 1})
    assert taken(whole) == [("large.mp4", None), ("small.mp4", None)]
    cut = WorkQueue([SMALL, LARGE], {"small.mp4": 1, "large.mp4": 3})
    assert taken(cut) == [("small.mp4", None), *(("large.mp4", part) for part in range(3))]


def test_names_are_given_once_all_segments_are_seen_and_before_all_else():
    queue = WorkQueue([SMALL, LARGE], {"small.mp4": 1, "large.mp4": 2})
    first, second = queue.take(), queue.take()
    assert (first.shown, second.shown) == (
        "large.mp4 (segment 1 of 2)",
        "large.mp4 (segment 2 of 2)",
    )
    queue.again(first)
    queue.done(second)
    again = queue.take()
    assert again == first
    queue.done(again)
    association = queue.take()
    assert association == Work(LARGE, None, 2) and association.shown == "large.mp4 (association)"
    queue.again(association)
    assert taken(queue) == [("large.mp4", 0), ("large.mp4", 1), ("small.mp4", None)]


def test_stitched_segments_are_seen_then_named_then_joined():
    queue = WorkQueue([LARGE], {"large.mp4": 2}, stitched=True)
    for work in (queue.take(), queue.take()):
        assert not work.named
        queue.done(work)
    first, second = queue.take(), queue.take()
    assert (first.segment, second.segment) == (0, 1) and first.named and second.named
    assert second.shown == "large.mp4 (association of segment 2 of 2)" and second.size == 0
    queue.again(second)
    queue.done(first)
    assert queue.take() == second and queue.take() is None
    queue.done(second)
    joining = queue.take()
    assert joining == Work(LARGE, None, 2) and len(queue) == 0
    queue.again(joining)
    assert taken(queue) == [("large.mp4", 0), ("large.mp4", 1)], "all is looked at again"


def test_nothing_is_left_of_a_video_whose_outcome_is_known():
    queue = WorkQueue([SMALL, LARGE], {"small.mp4": 1, "large.mp4": 3})
    queue.take()
    first = queue.take()
    assert queue.close(LARGE) and not queue.close(LARGE)
    assert len(queue) == 0 and queue.is_closed(LARGE)
    queue.done(first)
    queue.again(first)
    queue.again(Work(LARGE, None, 3))
    assert len(queue) == 0


def test_what_was_lost_together_is_done_alone():
    queue = WorkQueue(
        [SMALL, LARGE, OTHER], dict.fromkeys(("small.mp4", "large.mp4", "other.mp4"), 1)
    )
    large, small = queue.take(), queue.take([Work(OTHER)])
    queue.do_alone([large, small])
    assert len(queue) == 3
    assert queue.take([Work(LARGE)]) is None, "its worker still has other work"
    assert queue.take() == large
    assert queue.take([large]) is None, "nothing is done beside a suspect"
    queue.again(large)
    assert queue.take() == large
    assert queue.take() == small
    assert queue.take() == Work(OTHER)
    queue.do_alone([large, small])
    queue.close(LARGE)
    assert queue.take() == small and len(queue) == 0 and queue.take() is None


def test_auto_cuts_what_would_keep_one_worker_busy_alone():
    def videos(*sizes):
        return [ArchivedVideo(str(n), size * MIN_SEGMENT_BYTES, "") for n, size in enumerate(sizes)]

    def cut(sizes, workers):
        return list(num_segments(videos(*sizes), "auto", workers).values())

    assert cut([100], 4) == [4]
    assert cut([100], 1) == [1]
    assert cut([3], 8) == [3]
    assert cut([0, 0], 8) == [1, 1]
    assert cut([10] * 8, 4) == [1] * 8
    assert cut([70, 10, 10, 10], 4) == [3, 1, 1, 1]
    assert list(num_segments(videos(1, 2), 5, 2).values()) == [5, 5]
