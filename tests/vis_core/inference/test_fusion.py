"""Fusion of results: equal to a loop over pixels, independent of order, no self-fusion."""

from array import array
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vis_core.config.inference import FusionConfig
from vis_core.inference.fusion import fuse_tracks
from vis_core.rle.packed import PackedMasks
from vis_core.rle.segmentation import decode_rle, encode_masks
from vis_core.rle.vote import voted_masks
from vis_core.structures import Track, VideoResult

SIZE = (9, 11)


def track(masks: np.ndarray, track_id: int = 0, label: int = 0, score: float = 0.5) -> Track:
    """Builds a track from (T, H, W) bool masks; frames without a pixel are absent."""
    rles = [rle if m.any() else None for rle, m in zip(encode_masks(masks), masks, strict=True)]
    packed = PackedMasks.of(rles)
    return Track(track_id, label, score, packed, array("d", [score] * len(packed)))


def fuse_results(results: list[VideoResult], config: FusionConfig | None = None) -> VideoResult:
    num_frames = results[0].num_frames
    tracks = [own.tracks for own in results]
    fused = fuse_tracks(tracks, SIZE, num_frames, config or FusionConfig())
    return VideoResult(*SIZE, num_frames, fused)


def result(*tracks: Track, num_frames: int = 3) -> VideoResult:
    return VideoResult(*SIZE, num_frames, list(tracks))


def pixels(track: Track, num_frames: int = 3) -> np.ndarray:
    nothing = np.zeros(SIZE, bool)
    rles = track.segmentations(SIZE, num_frames)
    return np.stack([nothing if r is None else decode_rle(r) for r in rles])


def box(top: int, left: int, bottom: int, right: int, frames: int = 3) -> np.ndarray:
    masks = np.zeros((frames, *SIZE), bool)
    masks[:, top:bottom, left:right] = True
    return masks


def random_result(seed: int, num_tracks: int = 4, num_frames: int = 5) -> VideoResult:
    """Draws tracks that appear and vanish, some alike in several results, with close scores."""
    draw = np.random.default_rng(seed)
    base = np.random.default_rng(7)
    tracks = []
    for number in range(num_tracks):
        top, left = base.integers(0, 5, 2)
        masks = box(top, left, top + 4, left + 5, num_frames)
        masks ^= draw.random(masks.shape) < 0.06
        masks[draw.random(num_frames) < 0.2] = False
        score = float(draw.choice([0.3, 0.5, 0.5000001]))
        tracks.append(track(masks, 3 * number, int(draw.integers(2)), score))
    tracks.sort(key=lambda t: -t.score)
    return result(*tracks, num_frames=num_frames)


CHOICES = [
    FusionConfig(),
    FusionConfig(score="mean_of_found", label="vote"),
    FusionConfig(score="max", mask="best"),
    FusionConfig(iou_threshold=0.1, label="vote", mask="vote"),
]


@pytest.mark.parametrize("config", CHOICES, ids=range(len(CHOICES)))
@pytest.mark.parametrize("copies", [1, 2, 3, 5])
def test_a_result_fused_with_itself_is_unchanged(copies: int, config: FusionConfig) -> None:
    for seed in range(8):
        once = random_result(seed)
        fused = fuse_results([once] * copies, config)
        assert sorted(fused.tracks, key=str) == sorted(once.tracks, key=str)
        assert [t.score for t in fused.tracks] == [t.score for t in once.tracks]


def test_listings_of_one_track_under_several_classes_stay_apart() -> None:
    masks = box(1, 1, 6, 6)
    listings = result(track(masks, 2, 0, 0.6), track(masks, 2, 1, 0.4), track(box(7, 7, 9, 9), 5))
    for config in CHOICES:
        assert fuse_results([listings] * 3, config).tracks == [
            listings.tracks[0],
            listings.tracks[2],
            listings.tracks[1],
        ]


@pytest.mark.parametrize("config", CHOICES, ids=range(len(CHOICES)))
def test_the_order_of_results_does_not_matter(config: FusionConfig) -> None:
    results = [random_result(seed) for seed in (1, 2, 3)]
    first, *others = (fuse_results(list(order), config) for order in permutations(results))
    assert all(other == first for other in others)


def test_tracks_that_overlap_in_space_and_time_become_one() -> None:
    one, two = box(0, 0, 4, 5), box(0, 0, 4, 6)
    two[2] = False  # 40 common pixels of 20 * 3 + 4 * 2
    far = box(5, 5, 9, 9)
    fused = fuse_results(
        [result(track(one, 0, 1, 0.8)), result(track(two, 7, 1, 0.4), track(far, 3, 1, 0.9))]
    )
    assert [t.score for t in fused.tracks] == [pytest.approx(0.6), 0.45]
    both, alone = fused.tracks
    # the better member has more than half of all scores
    assert (pixels(both) == one).all()
    assert (pixels(alone) == far).all()
    assert both.scores_by_frame(3) == [pytest.approx(0.6), pytest.approx(0.6), 0.8]
    apart = fuse_results(
        [result(track(one)), result(track(two))], FusionConfig(iou_threshold=41 / 68)
    )
    assert len(apart.tracks) == 2


@pytest.mark.parametrize(
    "config, expected",
    [
        (FusionConfig(), 0.3),
        (FusionConfig(score="mean_of_found"), 0.6),
        (FusionConfig(score="max"), 0.6),
    ],
)
def test_a_track_that_one_result_lacks_is_scored_as_chosen(
    config: FusionConfig, expected: float
) -> None:
    fused = fuse_results([result(track(box(0, 0, 3, 3), score=0.6)), result()], config)
    assert fused.tracks[0].score == pytest.approx(expected)


def test_the_class_with_the_highest_sum_of_scores_wins_the_vote() -> None:
    masks = box(2, 2, 7, 8)
    results = [result(track(masks, label=k, score=s)) for k, s in ((4, 0.7), (2, 0.4), (2, 0.4))]
    fused = fuse_results(results, FusionConfig(label="vote"))
    assert [(t.label, len(fused.tracks)) for t in fused.tracks] == [(2, 1)]
    assert len(fuse_results(results).tracks) == 2


def test_the_predicted_quality_is_the_mean_of_those_who_state_one() -> None:
    masks = box(2, 2, 7, 8)
    stated = [replace(track(masks), predicted_quality=quality) for quality in (0.9, 0.6, None)]
    (fused,) = fuse_results([result(own) for own in stated]).tracks
    assert fused.predicted_quality == pytest.approx(0.75)
    (silent,) = fuse_results([result(stated[2])] * 2).tracks
    assert silent.predicted_quality is None
    assert fuse_results([result(stated[0])] * 3).tracks == [stated[0]]


@given(
    seed=st.integers(0, 10_000),
    num_tracks=st.integers(1, 5),
    num_frames=st.integers(1, 6),
    density=st.sampled_from([0.0, 0.02, 0.5, 0.97, 1.0]),
)
@settings(max_examples=150, deadline=None)
def test_a_vote_equals_the_loop_over_pixels(
    seed: int, num_tracks: int, num_frames: int, density: float
) -> None:
    draw = np.random.default_rng(seed)
    masks = draw.random((num_tracks, num_frames, *SIZE)) < density
    masks[draw.random((num_tracks, num_frames)) < 0.3] = False
    weights = draw.choice([0.25, 0.5, 1.0], num_tracks).tolist()
    packed = [track(own).masks for own in masks]
    found = voted_masks(packed, weights, SIZE).segmentations(SIZE, num_frames)
    units = np.array([1 + round((1 << 20) * w) for w in weights])
    for t in range(num_frames):
        votes = (units[:, None, None] * masks[:, t]).sum(axis=0)
        wanted = 2 * votes >= units.sum()
        assert (found[t] is not None) == wanted.any()
        if found[t] is not None:
            assert (decode_rle(found[t]) == wanted).all()
