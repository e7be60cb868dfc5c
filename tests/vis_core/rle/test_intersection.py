import numpy as np
import pytest

from tests.helpers.scored_videos import random_masks, track
from vis_core.rle.columns import (
    ColumnMasks,
    FaultyRunsError,
    at_frame,
    column_masks,
    joined_masks,
    masks_of_videos,
)
from vis_core.rle.intersection import intersections


@pytest.mark.parametrize("seed", range(40))
def test_intersections_equal_the_pixels_in_common(seed: int) -> None:
    generator = np.random.default_rng(seed)
    height, width, frames = generator.integers(1, 14, 3).tolist()
    ours = random_masks(generator, 3, frames, height, width)
    others = random_masks(generator, 2, frames, height, width)
    sides = [
        column_masks([track(masks) for masks in side], height, width, frames)
        for side in (ours, others)
    ]
    expected = np.array([[(one & other).sum() for other in others] for one in ours])
    found = intersections(sides[0], np.arange(3), sides[1], np.arange(2))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(sides[0].areas, ours.sum(axis=(2, 3)))


def test_rows_choose_the_tracks() -> None:
    generator = np.random.default_rng(3)
    masks = random_masks(generator, 4, 2, 6, 7)
    side = column_masks([track(one) for one in masks], 6, 7, 2)
    whole = intersections(side, np.arange(4), side, np.arange(4))
    rows, columns = np.array([3, 1]), np.array([0, 2, 3])
    np.testing.assert_array_equal(
        intersections(side, rows, side, columns), whole[np.ix_(rows, columns)]
    )


def test_one_frame_of_a_video_is_a_video_of_one_frame() -> None:
    generator = np.random.default_rng(5)
    masks = random_masks(generator, 3, 4, 6, 7)
    side = column_masks([track(one) for one in masks], 6, 7, 4)
    for frame in range(4):
        single = at_frame(side, frame)
        found = intersections(single, np.arange(3), single, np.arange(3))
        expected = [[(a[frame] & b[frame]).sum() for b in masks] for a in masks]
        np.testing.assert_array_equal(found, expected)


def test_tall_images_need_a_wider_word() -> None:
    generator = np.random.default_rng(7)
    masks = random_masks(generator, 2, 1, 40_000, 3)
    side = column_masks([track(one) for one in masks], 40_000, 3, 1)
    found = intersections(side, np.arange(2), side, np.arange(2))
    np.testing.assert_array_equal(found, [[(a & b).sum() for b in masks] for a in masks])


def test_chunks_of_many_tracks_join_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(9)
    masks = random_masks(generator, 5, 3, 6, 7)
    tracks = [track(one) for one in masks]
    whole = column_masks(tracks, 6, 7, 3)
    monkeypatch.setattr("vis_core.rle.columns._CHUNK", 10)
    parts = column_masks(tracks, 6, 7, 3)
    rows = np.arange(5)
    np.testing.assert_array_equal(
        intersections(whole, rows, whole, rows), intersections(parts, rows, parts, rows)
    )


def test_no_tracks_and_no_masks_are_fine() -> None:
    none = column_masks([], 5, 6, 4)
    assert len(none) == 0
    assert none.num_frames == 4
    absent = column_masks([[None] * 4], 5, 6, 4)
    assert intersections(absent, np.array([0]), absent, np.array([0])).tolist() == [[0]]
    assert absent.mean_areas().tolist() == [0.0]


def test_a_faulty_mask_is_refused() -> None:
    with pytest.raises(FaultyRunsError):
        column_masks([[{"size": [5, 6], "counts": "0"}]], 5, 6, 1)


@pytest.mark.parametrize("at_once", [1, 12, 600])
def test_videos_read_at_once_equal_each_read_alone(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vis_core.rle.columns._MASKS_AT_ONCE", at_once)
    generator = np.random.default_rng(5)
    sizes = [(6, 7, 2)] * 5 + [(9, 4, 3)] * 3 + [(6, 7, 2)]
    videos = [
        ([track(one) for one in random_masks(generator, count, size[2], *size[:2])], size)
        for size, count in zip(sizes, (2, 0, 1, 3, 2, 1, 2, 0, 1), strict=True)
    ]
    together = list(masks_of_videos(iter(videos)))
    assert len(together) == len(videos)
    for masks, (tracks, size) in zip(together, videos, strict=True):
        alone = column_masks(tracks, *size)
        _assert_same(masks, alone)
        _assert_same(joined_masks([masks, masks]), joined_masks([alone, alone]))


def _assert_same(one: ColumnMasks, other: ColumnMasks) -> None:
    shown = one.columns > 0
    np.testing.assert_array_equal(one.offset[shown], other.offset[shown])
    for name in vars(one).keys() - {"offset"}:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
