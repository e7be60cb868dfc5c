"""The plan of segments: every frame once, balanced, and invalid numbers refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.long_videos import plan_segments
from vis_core.errors import ConfigError
from vis_core.inference.stitching.segments import Segment


def test_segments_share_their_overlap_with_the_one_before() -> None:
    assert plan_segments(100, 3, 8) == [Segment(0, 33, 0), Segment(33, 66, 8), Segment(66, 100, 8)]


@given(st.integers(1, 3000), st.integers(1, 40), st.integers(1, 40))
def test_every_frame_is_in_the_output_of_one_segment(num: int, count: int, overlap: int) -> None:
    if count > max(1, num // overlap):
        with pytest.raises(ConfigError, match="ask for"):
            plan_segments(num, count, overlap)
        return
    segments = plan_segments(num, count, overlap)
    assert [t for own in segments for t in range(own.start, own.stop)] == list(range(num))
    lengths = [len(own) for own in segments]
    assert len(segments) == count and max(lengths) - min(lengths) <= 1
    assert [own.warmup for own in segments] == [0] + [overlap] * (count - 1)
    assert all(own.first_frame >= 0 for own in segments)


@given(st.integers(1, 50_000), st.integers(1, 64), st.integers(1, 200))
def test_auto_uses_the_workers_but_walks_few_frames_twice(
    num: int, overlap: int, workers: int
) -> None:
    segments = plan_segments(num, "auto", overlap, workers)
    assert 1 <= len(segments) <= workers
    assert sum(own.warmup for own in segments) <= 0.05 * num
    longer = plan_segments(workers * 20 * overlap, "auto", overlap, workers)
    assert len(longer) == workers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1, 4), "num_frames is 0"),
        ((10, 0, 4), "0 wanted"),
        ((10, -2, 4), "-2 wanted"),
        ((10, 2, 0), "overlap is 0"),
        ((10, 3, 4), "ask for 2 at most"),  # a segment of 3 frames would share 4
    ],
)
def test_nonsense_is_refused_with_what_to_do(arguments: tuple, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_segments(*arguments)
