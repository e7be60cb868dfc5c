"""Clips made from still images: smooth, same identities, clean occlusion, the same for one seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.clips import still, textured_image
from vis_core.clips.pseudo import (
    copy_paste,
    crop_shift,
    crop_zoom,
    draw_motion,
    make_pseudo_clip,
    rotate,
)
from vis_core.clips.sampling import crop_sides, path_fractions, row_seed
from vis_core.config.clips import CropFraction, CropPixels, FixedSize, PseudoConfig, ShortSide
from vis_core.structures import Clip

SMALL = PseudoConfig(size=FixedSize(height=60, width=80), num_frames=6, min_visible_pixels=1)
STILL_CAMERA = SMALL.model_copy(
    update={"crop_probability": 0.0, "flip_probability": 0.0, "rotation_probability": 0.0}
)


def _make(source, config, seed, paste_from=None):
    generator = np.random.default_rng(seed)
    return make_pseudo_clip(source, config, generator, paste_from and (lambda: paste_from))


def _angle(affine):
    return np.rad2deg(np.arctan2(affine.matrix[0, 1], affine.matrix[0, 0]))


def _one_way(values):
    steps = np.diff(np.asarray(values), axis=0)
    return bool((steps >= -1e-9).all() or (steps <= 1e-9).all())


def test_path_fractions_equal_sorted_uniform_draws_reversed_half_the_time():
    ways = []
    for seed in range(200):
        fractions = path_fractions(5, np.random.default_rng(seed))
        drawn = sorted(np.random.default_rng(seed).uniform(0, 1, 5))
        assert np.allclose(sorted(fractions), drawn) and _one_way(fractions)
        ways.append(fractions[0] > fractions[-1])
    assert 70 < sum(ways) < 130


def test_rotation_stays_in_the_range_goes_one_way_and_turns_about_one_centre():
    for seed in range(50):
        turns = rotate(60, 80, SMALL, np.random.default_rng(seed))
        angles = [_angle(turn) for turn in turns]
        assert len(turns) == 6 and max(map(abs, angles)) <= 15 and _one_way(angles)
        fixed = [
            np.linalg.solve(np.eye(2) - turn.matrix[:, :2], turn.matrix[:, 2])
            for turn in turns
            if abs(_angle(turn)) > 0.5
        ]
        assert np.ptp(fixed, axis=0).max() < 1e-6
        share = fixed[0] / (80, 60)
        assert (share >= 0.4 - 1e-9).all() and (share <= 0.6 + 1e-9).all()


def test_crop_shift_moves_a_view_of_one_size_along_a_line_inside_the_image():
    for seed in range(50):
        views = crop_shift(90, 120, SMALL, np.random.default_rng(seed))
        sides = views[:, 2:] - views[:, :2]
        assert views.shape == (6, 4) and np.allclose(sides, sides[0])
        assert views.min() >= 0 and (views[:, 2:] <= np.array([120, 90]) + 1e-9).all()
        assert all(_one_way(views[:, axis]) for axis in range(2))
        way = views[-1, :2] - views[0, :2]
        rest = views[:, :2] - views[0, :2]
        assert np.allclose(rest[:, 0] * way[1], rest[:, 1] * way[0], atol=1e-6)


def test_crop_zoom_keeps_the_aspect_and_passes_from_one_view_into_a_smaller_one():
    for seed in range(50):
        views = crop_zoom(90, 120, SMALL, np.random.default_rng(seed))
        sides = views[:, 2:] - views[:, :2]
        assert np.allclose(sides[:, 0] / sides[:, 1], sides[0, 0] / sides[0, 1])
        assert _one_way(sides) and sides.min(axis=0)[0] >= sides.max(axis=0)[0] * 0.5 - 1e-9
        order = np.argsort(-sides[:, 0])
        ordered = views[order]
        assert (np.diff(ordered[:, :2], axis=0) >= -1e-9).all()
        assert (np.diff(ordered[:, 2:], axis=0) <= 1e-9).all()
        assert views.min() >= 0 and (views[:, 2:] <= np.array([120, 90]) + 1e-9).all()


@pytest.mark.parametrize(
    ("settings_", "low", "high"),
    [
        (CropFraction(min_fraction=0.5, max_fraction=0.75), (50, 100), (75, 150)),
        (CropPixels(min_pixels=40, max_pixels=80), (40, 40), (80, 80)),
        (CropPixels(min_pixels=400, max_pixels=600), (100, 200), (100, 200)),
        # Counted as if resized to a short side of 400, i.e. 4 x as large, before 384..600 is drawn.
        (CropPixels(short_sides=(400,)), (96, 96), (100, 150)),
    ],
)
def test_crop_sides_lie_in_their_range(settings_, low, high):
    for seed in range(30):
        sides = crop_sides(100, 200, settings_, np.random.default_rng(seed))
        assert (sides >= np.array(low) - 1e-9).all() and (sides <= np.array(high) + 1e-9).all()


def test_a_motion_changes_smoothly_from_frame_to_frame():
    """Checks that a point's path over the clip never jumps back and forth."""
    for seed in range(40):
        config = SMALL.model_copy(update={"rotation_probability": 0.0, "crop_probability": 1.0})
        maps = draw_motion(90, 120, config, np.random.default_rng(seed))
        corners = [m.matrix @ (0, 0, 1) for m in maps], [m.matrix @ (120, 90, 1) for m in maps]
        assert all(_one_way(np.array(way)[:, axis]) for way in corners for axis in range(2))


def test_without_motion_every_frame_is_the_image():
    source = still(60, 80)
    clip = _make(source, STILL_CAMERA, 0)
    assert (clip.images == source.images).all() and (clip.masks == source.masks).all()


def test_masks_move_with_the_pixels():
    source = still()
    painted = source.images[0] // 4
    painted[source.masks[0, 0]] = (250, 0, 0)
    painted[source.masks[0, 1]] = (0, 250, 0)
    for seed in range(10):
        clip = _make(Clip("c", painted[None], source.masks, source.labels), SMALL, seed)
        for row, label in enumerate(clip.labels):
            colour = clip.images[..., label] > 160
            wrong = (colour != clip.masks[:, row]).sum()
            assert wrong <= 0.05 * clip.masks[:, row].sum() + 8


def test_the_same_seed_gives_the_same_clip_and_another_seed_another():
    source, other = still(), still(70, 70, ((30, 30, 20),), seed=5)
    first, again = _make(source, SMALL, 3, other), _make(source, SMALL, 3, other)
    assert np.array_equal(first.images, again.images) and np.array_equal(first.masks, again.masks)
    assert not np.array_equal(first.images, _make(source, SMALL, 4, other).images)


def test_an_instance_that_leaves_the_view_is_absent_and_keeps_its_row():
    source = still(90, 120, ((8, 45, 8), (60, 45, 20)))
    config = SMALL.model_copy(
        update={"crop_probability": 1.0, "zoom_share": 0.0, "rotation_probability": 0.0}
    )
    left = 0
    for seed in range(40):
        clip = _make(source, config, seed)
        if 0 in clip.labels:
            row = list(clip.labels).index(0)
            left += 0 < clip.present[:, row].sum() < len(clip)
        assert clip.present.any(axis=0).all()
    assert left > 3


def test_instances_below_the_visible_minimum_are_left_out():
    source = still(60, 80, ((20, 20, 2), (50, 30, 15)))
    config = STILL_CAMERA.model_copy(update={"min_visible_pixels": 16})
    assert _make(source, config, 0).labels.tolist() == [1]


def test_an_image_without_instances_gives_a_clip_without_instances():
    source = still(places=())
    clip = _make(source, SMALL, 0)
    assert clip.masks.shape == (6, 0, 60, 80) and len(clip.labels) == 0
    pasted = copy_paste(clip, source, SMALL, np.random.default_rng(0))
    assert np.array_equal(pasted.images, clip.images)


def test_one_frame_makes_a_still_clip():
    assert len(_make(still(), SMALL.model_copy(update={"num_frames": 1}), 0)) == 1


def test_pasted_instances_hide_what_lies_behind_and_move_against_it():
    base = _make(still(60, 80), STILL_CAMERA, 0)
    source = still(60, 80, ((30, 30, 14), (60, 20, 12)), seed=9)
    config = STILL_CAMERA.model_copy(update={"max_pasted_instances": 2})
    moved = 0
    for seed in range(20):
        clip = copy_paste(base, source, config, np.random.default_rng(seed))
        own = len(base.labels)
        assert clip.labels[:own].tolist() == base.labels.tolist()
        assert set(clip.labels[own:]) <= {0, 1}
        assert (clip.masks.sum(axis=1) <= 1).all()
        pasted = clip.masks[:, own:].any(axis=1)
        assert np.array_equal(clip.masks[:, :own], base.masks & ~pasted[:, None])
        assert np.array_equal(clip.images[~pasted], base.images[~pasted])
        centers = [np.argwhere(m).mean(axis=0) for m in clip.masks[:, own] if m.any()]
        moved += len(centers) > 1 and np.ptp(centers, axis=0).max() > 2
    assert moved > 12


def test_pasted_pixels_are_the_pixels_of_the_source():
    """Uses size 1 and one colour per instance, so that the place of a pixel does not matter."""
    base = _make(still(60, 80), STILL_CAMERA, 0)
    source = still(60, 80, ((30, 30, 14),))
    flat = np.full_like(source.images, (9, 200, 77))
    config = STILL_CAMERA.model_copy(update={"min_paste_scale": 1.0})
    source = Clip("flat", flat, source.masks, source.labels)
    clip = copy_paste(base, source, config, np.random.default_rng(1))
    pasted = clip.masks[:, -1]
    assert pasted.any() and (clip.images[pasted] == (9, 200, 77)).all()


def test_pasting_is_a_coin_of_the_config():
    source, other = still(places=()), still(seed=2)
    never = SMALL.model_copy(update={"paste_probability": 0.0})
    always = SMALL.model_copy(update={"paste_probability": 1.0})
    assert len(_make(source, never, 0, other).labels) == 0
    counts = [len(_make(source, always, seed, other).labels) for seed in range(20)]
    assert max(counts) == 2 and min(counts) >= 0
    assert len(_make(source, always, 0).labels) == 0


def test_the_coin_of_pasting_does_not_change_the_motion():
    """Checks that the frames stay the same whether or not another image is available."""
    source = still(places=())
    with_other = _make(source, SMALL.model_copy(update={"paste_probability": 0.0}), 7, still())
    assert np.array_equal(with_other.images, _make(source, SMALL, 7).images)


@pytest.mark.parametrize(("height", "width"), [(90, 120), (120, 90), (33, 200)])
def test_short_side_sizes_keep_the_aspect_and_the_long_side_limit(height, width):
    config = STILL_CAMERA.model_copy(
        update={"size": ShortSide(short_sides=(48, 64), max_long_side=100)}
    )
    source = still(height, width, ((width / 2, height / 2, 12),))
    for seed in range(6):
        frames = _make(source, config, seed).images.shape[1:3]
        assert max(frames) <= 100 and min(frames) in (48, 64, 75, 17)
        assert abs(frames[1] / frames[0] - width / height) / (width / height) < 0.05


def test_a_fixed_size_never_distorts():
    source = still(100, 50, ((25, 50, 20),))
    clip = _make(source, STILL_CAMERA, 0)
    assert clip.images.shape[1:3] == (60, 80)
    ys, xs = np.nonzero(clip.masks[0, 0])
    assert abs(np.ptp(ys) - np.ptp(xs)) <= 1
    assert not clip.images[:, :, 31:].any()


def test_row_seeds_differ_by_every_part_and_never_change():
    seeds = {row_seed(s, i, r) for s in range(5) for i in range(20) for r in range(5)}
    assert len(seeds) == 500
    # printf 1/23/4 | b2sum -l 64, read as little endian.
    assert row_seed(1, 23, 4) == 1039059137810804673


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    frames=st.integers(1, 4),
    seed=st.integers(0, 10_000),
)
def test_any_size_and_seed_gives_a_clip_of_the_asked_size(height, width, frames, seed):
    image = textured_image(height, width, seed)
    masks = np.random.default_rng(seed).random((2, height, width)) < 0.5
    config = SMALL.model_copy(update={"num_frames": frames, "paste_probability": 1.0})
    generator = np.random.default_rng(seed)
    source = Clip("any", image[None], masks[None], np.array([4, 2]))
    clip = make_pseudo_clip(source, config, generator, lambda: still(seed=seed))
    assert clip.images.shape == (frames, 60, 80, 3)
    assert (clip.masks.sum(axis=(2, 3)).max(axis=0, initial=0) >= 1).all()
