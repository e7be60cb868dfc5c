"""Affine maps and pixels: hand-made cases, agreement of both methods, pictures of the releases."""

import json

import numpy as np
import pytest

from tests.conftest import reference_cases
from tests.helpers.recorded_clips import recorded_image, recorded_mask, recorded_step
from vis_core.clips.affine import (
    Affine,
    compose,
    flip_affine,
    rotation_affine,
    window_affine,
)
from vis_core.clips.transforms import (
    crop,
    flip,
    reached_part,
    resize,
    visible_instances,
    warp_frames,
    warp_image,
)
from vis_core.structures import Clip

PSEUDO_CASES = [path for path in reference_cases("ctvis/pseudo_*.npz")]


def _picture(height=40, width=60, seed=0):
    """Returns a smooth picture: sharp edges would differ between two interpolation methods."""
    ys, xs = np.mgrid[0:height, 0:width]
    phases = np.random.default_rng(seed).uniform(0, 6, 3)
    waves = [127 + 100 * np.sin(xs / 9 + p) * np.cos(ys / 7 + 2 * p) for p in phases]
    masks = np.stack([(xs - 20) ** 2 + (ys - 18) ** 2 < 120, (xs > 38) & (ys > 12) & (ys < 30)])
    return np.stack(waves, axis=-1).astype(np.uint8), masks


def warp_masks(masks, affine):
    """Warps one frame's masks; the map must not shrink, as the source is then shrunk first."""
    image = np.zeros((*masks.shape[1:], 3), np.uint8)
    return warp_frames(image, masks, [affine])[1][0]


def test_an_affine_of_one_whole_pixel_moves_pixels_exactly():
    image, masks = _picture()
    shift = Affine(np.array([[1.0, 0, 3], [0, 1.0, -2]]), 40, 60)
    moved = warp_image(image, shift)
    assert np.array_equal(moved[:38, 3:], image[2:, :57])
    assert not moved[:, :3].any()
    assert np.array_equal(warp_masks(masks, shift)[:, :38, 3:], masks[:, 2:, :57])


def test_flip_as_a_map_equals_flip_of_the_pixels():
    image, masks = _picture()
    image_flipped, masks_flipped = flip(image, masks)
    affine = flip_affine(40, 60)
    assert np.array_equal(warp_image(image, affine), image_flipped)
    assert np.array_equal(warp_masks(masks, affine), masks_flipped)


def test_crop_as_a_map_equals_crop_of_the_pixels():
    image, masks = _picture()
    image_cut, masks_cut = crop(image, masks, 7, 4, 20, 30)
    affine = window_affine((7, 4), 20, 30, 1.0)
    assert np.array_equal(warp_image(image, affine), image_cut)
    assert np.array_equal(warp_masks(masks, affine), masks_cut)


def test_a_right_angle_turns_counter_clockwise():
    image, masks = _picture(40, 40)
    affine = rotation_affine(40, 40, 90.0, (20.0, 20.0))
    assert np.array_equal(warp_image(image, affine), np.rot90(image))
    assert np.array_equal(warp_masks(masks, affine), np.rot90(masks, axes=(1, 2)))


def test_one_map_of_several_steps_equals_the_steps_one_by_one():
    image, masks = _picture()
    step_image, step_masks = crop(image, masks, 5, 3, 34, 50)
    step_image, step_masks = resize(step_image, step_masks, 68, 100)
    step_image, step_masks = flip(step_image, step_masks)
    rotation = rotation_affine(68, 100, 10.0, (48.0, 30.0))
    step_image, step_masks = warp_image(step_image, rotation), warp_masks(step_masks, rotation)
    affine = compose([window_affine((5, 3), 68, 100, 2.0), flip_affine(68, 100), rotation])
    inside = warp_image(np.full((40, 60), 255, np.uint8), affine) == 255
    inside &= warp_image(np.full((68, 100), 255, np.uint8), rotation) == 255
    difference = np.abs(warp_image(image, affine).astype(int) - step_image)[inside]
    assert difference.max() <= 4 and difference.mean() < 1.0
    disagree = (warp_masks(masks, affine) != step_masks)[:, inside]
    assert disagree.mean() < 0.01


def test_resize_of_the_same_size_changes_nothing():
    image, masks = _picture()
    same_image, same_masks = resize(image, masks, 40, 60)
    assert np.array_equal(same_image, image) and np.array_equal(same_masks, masks)


def test_warp_frames_equals_a_loop_over_frames_and_instances():
    image, masks = _picture()
    affines = [window_affine((t, 0, t + 30, 20), 30, 45, 1.5) for t in range(3)]
    images, moved = warp_frames(image, masks, affines)
    for t, affine in enumerate(affines):
        assert np.array_equal(images[t], warp_image(image, affine))
        for g, mask in enumerate(masks):
            assert np.array_equal(
                moved[t, g], warp_image(mask.astype(np.uint8) * 255, affine) > 127
            )


def test_shrinking_averages_instead_of_skipping_pixels():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    images, _ = warp_frames(
        stripes, np.zeros((0, 64, 64), bool), [window_affine((0, 0, 64, 64), 16, 16, 0.25)]
    )
    assert np.abs(images.astype(int) - 100).max() <= 1


def test_no_instances_pass_through_every_function():
    image, masks = _picture()
    none = masks[:0]
    affine = rotation_affine(40, 60, 5, (30, 20))
    assert warp_masks(none, affine).shape == (0, 40, 60)
    assert resize(image, none, 20, 30)[1].shape == (0, 20, 30)
    assert flip(*crop(image, none, 0, 0, 5, 6))[1].shape == (0, 5, 6)
    assert warp_frames(image, none, [affine] * 3)[1].shape == (3, 0, 40, 60)


def test_masks_of_too_few_pixels_are_emptied_and_who_never_shows_is_left_out():
    masks = np.zeros((2, 3, 5, 5), bool)
    masks[0, 0, :2, :2] = masks[1, 0, 0, :3] = masks[1, 2, 0, :3] = True
    clip = Clip("c", np.zeros((2, 5, 5, 3), np.uint8), masks, np.array([7, 8, 9]))
    kept = visible_instances(clip, 4)
    assert kept.labels.tolist() == [7] and kept.masks.sum(axis=(2, 3)).tolist() == [[4], [0]]
    assert visible_instances(clip, 1).labels.tolist() == [7, 9]


def test_masks_moved_in_their_boxes_equal_masks_moved_whole():
    """Allows only fixed-point rounding of the coordinates, on a pixel of the outline."""
    rng = np.random.default_rng(0)
    masks = _picture()[1]
    for _ in range(60):
        affine = compose(
            [
                window_affine(rng.uniform(-20, 20, 4), 50, 70, rng.uniform(1, 2.5)),
                rotation_affine(50, 70, rng.uniform(-180, 180), (rng.uniform(0, 70), 25)),
            ]
        )
        whole = [warp_image(mask.astype(np.uint8) * 255, affine) >= 128 for mask in masks]
        assert (warp_masks(masks, affine) != np.array(whole)).sum() <= 3


def test_what_lies_outside_reaches_nothing():
    assert reached_part(window_affine((100, 0, 110, 10), 20, 20, 1.0), 10, 10) is None
    (rows, columns), local = reached_part(window_affine((-5, -6, 15, 15), 30, 40, 1.0), 4, 4)
    assert (rows, columns) == (slice(5, 11), slice(4, 10)) and (local.height, local.width) == (6, 6)


@pytest.mark.parity
@pytest.mark.parametrize("path", PSEUDO_CASES, ids=lambda path: path.stem)
def test_recorded_transforms_give_the_released_images_and_masks(path):
    recorded = np.load(path)
    case = json.loads((path.parent / "pseudo_cases.json").read_text())[path.stem]
    for t, steps in enumerate(case["transforms_per_frame"]):
        expected = recorded[f"f{t}_image"].transpose(1, 2, 0)
        image = recorded_image(recorded["image"], steps)
        assert image.shape == expected.shape
        assert np.abs(image.astype(int) - expected).max() <= 2
        for g, annotation in enumerate(case["input_annotations"]):
            mask = recorded_mask(annotation["segmentation"], steps, *expected.shape[:2])
            wrong = (mask != recorded[f"f{t}_masks"][g]).sum()
            assert wrong <= 4, f"frame {t} instance {g}: {wrong} pixels differ"
            if recorded[f"f{t}_ids"][g] < 0:
                assert not mask.any(), f"frame {t} instance {g} left the view"
            # the recorded box encloses the box's turned corners: the mask is inside it
            rows, columns = np.nonzero(mask)
            x0, y0, x1, y1 = recorded[f"f{t}_boxes_from_transform"][g]
            assert ((columns + 1 >= x0 - 1) & (columns <= x1 + 1)).all()
            assert ((rows + 1 >= y0 - 1) & (rows <= y1 + 1)).all()


@pytest.mark.parity
@pytest.mark.parametrize("path", PSEUDO_CASES, ids=lambda path: path.stem)
def test_one_map_per_frame_shows_nearly_the_released_images(path):
    """Follows make_pseudo_clip: one interpolation instead of up to three."""
    recorded = np.load(path)
    case = json.loads((path.parent / "pseudo_cases.json").read_text())[path.stem]
    for t, steps in enumerate(case["transforms_per_frame"]):
        expected = recorded[f"f{t}_image"].transpose(1, 2, 0)
        height, width = expected.shape[:2]
        maps = [
            flip_affine(height, width) if step["type"] == "HFlipTransform" else recorded_step(step)
            for step in steps
        ]
        affine = compose([step for step in maps if step is not None])
        images, _ = warp_frames(recorded["image"], np.zeros((0, 1, 1), bool), [affine])
        filled = expected.any(axis=-1)
        difference = np.abs(images[0].astype(int) - expected)[filled]
        assert difference.mean() < 8
