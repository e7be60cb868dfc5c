"""A few videos speak for an archive: who is drawn, totals by hand, and how often they are right."""

import math
import random

import pytest

from pipelines.annotation.archive.listing import ArchivedVideo
from pipelines.annotation.plan.sampling import (
    ArchiveSample,
    DrawnVideo,
    draw_sample,
    estimate_total,
    predict_each,
    time_of_schedule,
)


def video(key: str, size: int) -> ArchivedVideo:
    return ArchivedVideo(key, size, key)


def archive(sizes: list[int]) -> list[ArchivedVideo]:
    return [video(f"{number:03d}.mp4", size) for number, size in enumerate(sizes)]


def any_sizes(count: int, seed: int) -> list[int]:
    chance = random.Random(seed)
    return [chance.randrange(100, 1000) for _ in range(count)]


def keys(sample: ArchiveSample) -> list[str]:
    return [drawn.video.key for drawn in sample.drawn]


def test_a_small_archive_is_drawn_whole_largest_first_and_known_exactly() -> None:
    sample = draw_sample(archive([10, 30, 20]), 5, seed=0)
    assert keys(sample) == ["001.mp4", "002.mp4", "000.mp4"]
    assert all(drawn.is_certain for drawn in sample.drawn)
    total = estimate_total(sample, [7, 5, 3])
    assert (total.value, total.low, total.high) == (15, 15, 15)


def test_an_empty_file_is_not_drawn_and_not_lost() -> None:
    sample = draw_sample(archive([0, 30, 0]), 5, seed=0)
    assert keys(sample) == ["001.mp4"]
    assert [empty.key for empty in sample.empty] == ["000.mp4", "002.mp4"]
    assert sample.is_whole


def test_an_archive_of_empty_files_has_nothing_in_it() -> None:
    sample = draw_sample(archive([0, 0]), 5, seed=0)
    assert estimate_total(sample, []).value == 0


def test_a_video_that_holds_most_of_the_archive_is_certain() -> None:
    for seed in range(20):
        assert "005.mp4" in keys(draw_sample(archive([10] * 5 + [1000] + [10] * 5), 3, seed))


def test_a_sample_is_spread_over_the_sizes() -> None:
    """In a draw of 4 of 40, each quarter of the weight, by hand, gives exactly one."""
    sizes = sorted(any_sizes(40, seed=1), reverse=True)
    weights = [size + sum(sizes) / 40 for size in sizes]
    for seed in range(20):
        sample = draw_sample(archive(sizes), 4, seed)
        starts = [sum(weights[: int(key[:3])]) / sum(weights) * 4 for key in keys(sample)]
        assert len(starts) == 4
        for quarter, start in enumerate(starts):
            assert quarter - 0.2 < start < quarter + 1


def test_a_draw_is_a_function_of_the_seed_and_not_of_the_order() -> None:
    videos = archive(any_sizes(50, seed=2))
    draws = [keys(draw_sample(videos, 6, seed)) for seed in (3, 3, 5)]
    assert draws[0] == draws[1] != draws[2]
    assert keys(draw_sample(videos[::-1], 6, 3)) == draws[0]


def test_how_often_a_video_is_drawn_is_what_its_row_says() -> None:
    videos = archive([10, 20, 30, 40, 50, 60])
    counts = dict.fromkeys([each.key for each in videos], 0)
    stated: dict[str, float] = {}
    for seed in range(2000):
        for drawn in draw_sample(videos, 2, seed).drawn:
            counts[drawn.video.key] += 1
            stated[drawn.video.key] = drawn.probability
    assert sum(stated.values()) == pytest.approx(2)
    assert stated["000.mp4"] == pytest.approx(2 * (10 + 35) / (6 * (35 + 35)))
    for key, count in counts.items():
        assert count / 2000 == pytest.approx(stated[key], abs=0.05)


def hand_sample() -> ArchiveSample:
    """One certain video, two of 100 and 200 bytes drawn at odds 1/4 and 1/2, 700 bytes left."""
    drawn = [
        DrawnVideo(video("sure", 1000), 1.0),
        DrawnVideo(video("b", 200), 0.5),
        DrawnVideo(video("a", 100), 0.25),
    ]
    return ArchiveSample(drawn, [video("x", 300), video("y", 400)])


def test_a_total_equals_the_one_worked_out_by_hand() -> None:
    # rest: 20/0.5 + 14/0.25 = 96 frames for 200/0.5 + 100/0.25 = 800 bytes: 0.12 each
    # of 200 + 100 + 700 bytes: 120 frames, beside 50 that are certain
    total = estimate_total(hand_sample(), [50, 20, 14])
    assert total.value == pytest.approx(50 + 120)
    # errors (20 - 24)/0.5 = -8 and (14 - 12)/0.25 = 8; weights 0.5 and 0.75; mean 1.6
    # variance 2 * (0.5 * 9.6^2 + 0.75 * 6.4^2) = 153.6; t(0.95, 1 degree) = 6.3138
    spread = 6.3138 * math.sqrt(153.6) / 96
    assert total.low == pytest.approx(max(84, 50 + 120 * math.exp(-spread)), rel=1e-4)
    assert total.high == pytest.approx(50 + 120 * math.exp(spread), rel=1e-4)


def test_a_total_by_videos_weighs_each_as_one() -> None:
    # the sure one, and of the other four 1/0.5 in 1/0.5 + 1/0.25: a third
    assert estimate_total(hand_sample(), [1, 1, 0], by_bytes=False).value == pytest.approx(
        1 + 4 / 3
    )


def test_one_uncertain_video_gives_a_guess_without_an_upper_end() -> None:
    sample = ArchiveSample([DrawnVideo(video("a", 100), 0.5)], [video("x", 100)])
    total = estimate_total(sample, [8])
    assert (total.value, total.low, total.high) == (16, 8, None)


def test_what_no_video_of_the_sample_has_may_still_be_elsewhere() -> None:
    total = estimate_total(hand_sample(), [0, 0, 0])
    assert (total.value, total.low, total.high) == (0, 0, None)


def test_frames_in_proportion_to_bytes_are_told_exactly_by_any_sample() -> None:
    sizes = any_sizes(60, seed=5)
    for seed in range(5):
        sample = draw_sample(archive(sizes), 5, seed)
        total = estimate_total(sample, [drawn.video.size / 50 for drawn in sample.drawn])
        assert total.value == pytest.approx(sum(sizes) / 50)
        assert total.high == pytest.approx(total.low)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Sizes over two decades, frames a byte over a factor of three: 9 in 10, by 200 draws."""
    chance = random.Random(6)
    videos = archive([round(chance.lognormvariate(12, 1)) for _ in range(200)])
    frames = {each.key: each.size / chance.lognormvariate(6, 0.4) for each in videos}
    truth = sum(frames.values())
    held = 0
    for seed in range(200):
        sample = draw_sample(videos, 12, seed)
        total = estimate_total(sample, [frames[drawn.video.key] for drawn in sample.drawn])
        assert total.high is not None
        held += total.low <= truth <= total.high
    assert 0.8 * 200 <= held < 200


def test_each_video_is_what_was_seen_or_its_share_of_the_rest() -> None:
    assert predict_each(hand_sample(), [50, 20, 14]) == pytest.approx([50, 20, 14, 36, 48])


@pytest.mark.parametrize(
    "seconds, workers, expected",
    [
        ([], 3, 0),
        ([5, 1, 1, 1], 1, 8),
        ([1, 1, 5, 1], 2, 5),  # the longest goes first
        ([3, 3, 2, 2, 2], 2, 7),  # 3+2+2 beside 3+2
        ([1, 2], 8, 2),  # no faster than the longest
    ],
)
def test_a_schedule_ends_with_its_last_worker(
    seconds: list[float], workers: int, expected: float
) -> None:
    assert time_of_schedule(seconds, workers) == expected
