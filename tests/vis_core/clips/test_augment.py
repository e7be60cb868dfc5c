"""Real clips and stills: one crop, one size, one flip for all frames."""

import numpy as np
import pytest

from tests.helpers.clips import disc_masks, still, textured_image
from vis_core.clips.augment import augment_clip
from vis_core.config.clips import AugmentConfig, CropFraction, FixedSize, ShortSide
from vis_core.structures import Clip


def _moving_clip(frames=4, height=48, width=64):
    images = np.stack([textured_image(height, width, seed) for seed in range(frames)])
    masks = np.stack(
        [disc_masks(height, width, ((12 + 8 * t, 20, 8), (50, 30, 9))) for t in range(frames)]
    )
    return Clip("video", images, masks, np.array([3, 1]))


def test_without_chances_and_at_its_own_size_a_clip_is_unchanged():
    clip = _moving_clip()
    config = AugmentConfig(
        size=FixedSize(height=48, width=64), flip_probability=0, crop_probability=0
    )
    same = augment_clip(clip, config, np.random.default_rng(0))
    assert np.array_equal(same.images, clip.images) and np.array_equal(same.masks, clip.masks)


def test_crop_and_flip_equal_the_naive_loop_over_frames():
    clip = _moving_clip()
    config = AugmentConfig(
        size=FixedSize(height=48, width=64),
        crop_probability=1,
        flip_probability=1,
        crop_size=CropFraction(min_fraction=1.0, max_fraction=1.0),
        min_visible_pixels=1,
    )
    varied = augment_clip(clip, config, np.random.default_rng(0))
    for t in range(len(clip)):
        assert np.array_equal(varied.images[t], clip.images[t, :, ::-1])
        for row in range(2):
            assert np.array_equal(varied.masks[t, row], clip.masks[t, row, :, ::-1])


def test_all_frames_share_the_draws():
    """Checks that equal frames stay equal under any draw."""
    one = still()
    clip = Clip("c", np.repeat(one.images, 3, 0), np.repeat(one.masks, 3, 0), one.labels)
    config = AugmentConfig(
        size=ShortSide(short_sides=(40, 56), max_long_side=90), crop_size=CropFraction()
    )
    sizes = set()
    for seed in range(30):
        varied = augment_clip(clip, config, np.random.default_rng(seed))
        assert (varied.images == varied.images[0]).all() and (varied.masks == varied.masks[0]).all()
        sizes.add(varied.images.shape[1:3])
    assert len(sizes) > 8


def test_instances_outside_a_crop_are_left_out_and_the_others_keep_their_labels():
    source = still(100, 100, ((8, 8, 6), (90, 90, 6), (50, 50, 10)))
    config = AugmentConfig(
        size=FixedSize(height=64, width=64),
        crop_probability=1,
        crop_size=CropFraction(min_fraction=0.4, max_fraction=0.5),
    )
    counts = set()
    for seed in range(30):
        clip = augment_clip(source, config, np.random.default_rng(seed))
        assert len(clip) == 1 and clip.present.all()
        assert clip.labels.tolist() == sorted(clip.labels.tolist())
        counts.add(len(clip.labels))
    assert len(counts) > 1


@pytest.mark.parametrize(("height", "width"), [(30, 90), (90, 30), (1, 1)])
def test_a_fixed_size_fits_any_picture_without_distortion(height, width):
    image = np.full((height, width, 3), 255, np.uint8)
    config = AugmentConfig(size=FixedSize(height=40, width=40))
    source = Clip("i", image[None], np.ones((1, 1, height, width), bool), np.array([0]))
    clip = augment_clip(source, config, np.random.default_rng(0))
    inside = clip.images[0, ..., 0] == 255
    assert np.array_equal(inside, clip.masks[0, 0])
    rows, columns = inside.any(axis=1).sum(), inside.any(axis=0).sum()
    assert max(rows, columns) == 40 and abs(rows * width - columns * height) <= 90


def test_a_clip_without_instances_stays_one():
    clip = augment_clip(still(places=()), AugmentConfig(), np.random.default_rng(0))
    assert clip.masks.shape[1] == 0
