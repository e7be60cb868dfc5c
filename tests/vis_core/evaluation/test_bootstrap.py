import numpy as np
import pytest

from tests.helpers.scored_videos import as_results, random_set
from vis_core.evaluation.bootstrap import (
    Interval,
    draw_videos,
    interval,
    is_significant,
    resampled_ap,
)
from vis_core.evaluation.loading import GroundTruth
from vis_core.evaluation.video_ap import ApSettings, evaluate, match_videos


@pytest.mark.parametrize("seed", range(4))
def test_a_draw_equals_a_data_set_with_the_videos_copied(seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth, entries = random_set(generator, videos=4)
    for place, entry in enumerate(entries):
        entry["score"] += place * 1e-6  # the order of ties depends on the position of copies
    results = as_results(entries, truth)
    matches, categories = match_videos(truth, results, ApSettings())
    draws = draw_videos(4, 6, generator)
    points = ApSettings().recall_points
    found = resampled_ap(matches, len(categories), points, draws)
    for draw, ap in zip(draws, found, strict=True):
        copies = [
            (video, 10 * copy + video) for video in range(1, 5) for copy in range(draw[video - 1])
        ]
        videos = {new: truth.videos[old] for old, new in copies}
        copied = GroundTruth(truth.categories, videos, {})
        own = {new: results[old] for old, new in copies if old in results}
        expected = evaluate(copied, own).stats["AP"]
        assert ap == pytest.approx(max(expected, 0.0), abs=1e-12)


def test_all_videos_once_give_the_ap_itself() -> None:
    truth, entries = random_set(np.random.default_rng(11), videos=5)
    results = as_results(entries, truth)
    matches, categories = match_videos(truth, results, ApSettings())
    once = np.ones((1, 5), np.int64)
    found = resampled_ap(matches, len(categories), ApSettings().recall_points, once)
    assert found[0] == pytest.approx(evaluate(truth, results).stats["AP"], abs=1e-12)


def test_draws_repeat_with_the_seed_and_count_every_video() -> None:
    first = draw_videos(7, 5, np.random.default_rng(1))
    again = draw_videos(7, 5, np.random.default_rng(1))
    np.testing.assert_array_equal(first, again)
    assert (first.sum(axis=1) == 7).all()


def test_an_interval_that_leaves_out_zero_is_significant() -> None:
    assert is_significant(Interval(0.2, 0.1, 0.3))
    assert is_significant(Interval(-0.2, -0.3, -0.1))
    assert not is_significant(Interval(0.1, -0.1, 0.3))
    middle = interval(0.5, np.linspace(0, 1, 1001))
    assert (middle.low, middle.high) == pytest.approx((0.025, 0.975))
