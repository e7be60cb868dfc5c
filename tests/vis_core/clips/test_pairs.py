"""Key-reference pairs: from two views of an image, or from two frames of a video."""

import json

import numpy as np
import pytest
import torch

from tests.conftest import reference_cases
from tests.helpers.clips import disc_masks, still, textured_image
from tests.helpers.recorded_clips import recorded_image, recorded_mask
from vis_core.clips.augment import augment_clip
from vis_core.clips.collate import collate_clips
from vis_core.clips.pseudo import crop_pair
from vis_core.clips.rows import clip_to_row, row_to_clip
from vis_core.config.clips import AugmentConfig, CropFraction, FixedSize, PairConfig, ShortSide
from vis_core.formats.categories import Categories
from vis_core.structures import Clip

PAIRS = [*reference_cases("idol/pseudo_pair_*.npz"), *reference_cases("idol/video_pair_*.npz")]
# The authors resize with Pillow as we do: byte for byte (README of the reference, section 6).
MAX_IMAGE_DIFFERENCE = 0
# Border pixels of a mask whose polygon is cut before it is rasterised (the same section: 11).
MAX_MASK_PIXELS = 11
VIEWS = PairConfig(
    size=ShortSide(short_sides=(48, 64), max_long_side=160),
    crop_size=CropFraction(min_fraction=0.3, max_fraction=0.8),
)


def pair(source, config=VIEWS, seed=0):
    """Returns a pair from the only frame of ``source``."""
    return crop_pair(source, config, np.random.default_rng(seed))


def video(frames=2, height=60, width=90):
    """Returns a clip with one moving disc and one still disc."""
    images = np.stack([textured_image(height, width, seed) for seed in range(frames)])
    places = [((20 + 10 * t, 25, 9), (70, 40, 10)) for t in range(frames)]
    masks = np.stack([disc_masks(height, width, place) for place in places])
    return Clip("video", images, masks, np.array([4, 2]))


def test_a_pair_is_a_function_of_its_seed_and_its_views_are_independent():
    source = still(places=((40, 40, 18), (85, 50, 15), (20, 70, 8)))
    first, again = pair(source), pair(source)
    assert np.array_equal(first.images, again.images) and np.array_equal(first.masks, again.masks)
    assert np.array_equal(first.sizes, again.sizes)
    pairs = [pair(source, seed=seed) for seed in range(40)]
    sizes = np.stack([one.frame_sizes for one in pairs])
    assert (sizes[:, 0] != sizes[:, 1]).any(axis=1).mean() > 0.9
    # an instance's place in one view is independent of its place in the other
    centres = [[np.argwhere(one.masks[t, 0]).mean(axis=0)[1] for t in (0, 1)] for one in pairs
               if one.labels[:1].tolist() == [0] and one.present[:, 0].all()]  # fmt: skip
    assert len(centres) > 15
    assert abs(np.corrcoef(np.array(centres).T)[0, 1]) < 0.5


def test_an_instance_keeps_its_row_in_both_views_and_is_absent_where_it_is_cropped_away():
    source = still(places=((15, 20, 10), (100, 70, 12)))
    painted = source.images[0] // 4
    painted[source.masks[0, 0]] = (250, 0, 0)
    painted[source.masks[0, 1]] = (0, 250, 0)
    source = Clip("c", painted[None], source.masks, source.labels)
    absent = 0
    for seed in range(40):
        made = pair(source, seed=seed)
        assert made.present.any(axis=0).all()
        absent += (~made.present).sum()
        for row, label in enumerate(made.labels):
            wrong = ((made.images[..., label] > 160) != made.masks[:, row]).sum()
            assert wrong <= 0.08 * made.masks[:, row].sum() + 12
    assert absent > 8


def test_views_of_different_sizes_are_padded_with_nothing():
    for seed in range(20):
        made = pair(still(), seed=seed)
        assert tuple(made.frame_sizes.max(axis=0)) == made.images.shape[1:3]
        for t, (high, wide) in enumerate(made.frame_sizes):
            assert not made.images[t, high:].any() and not made.images[t, :, wide:].any()
            assert not made.masks[t, :, high:].any() and not made.masks[t, :, :, wide:].any()
            assert made.images[t, :high, :wide].any(axis=-1).mean() > 0.95


def test_shared_draws_make_two_equal_views():
    made = pair(still(), VIEWS.model_copy(update={"drawn_per_frame": "nothing"}))
    assert made.sizes is None
    assert np.array_equal(made.images[0], made.images[1])
    assert np.array_equal(made.masks[0], made.masks[1])


def test_an_image_without_instances_makes_a_pair_without_instances():
    made = pair(still(places=()))
    assert made.masks.shape[:2] == (2, 0) and len(made.labels) == 0


def test_frames_of_a_video_pair_share_flip_and_short_edge_and_crop_for_themselves():
    config = AugmentConfig(
        size=ShortSide(short_sides=(40, 56, 72), max_long_side=400),
        crop_size=CropFraction(min_fraction=0.4, max_fraction=0.9),
        drawn_per_frame="crop",
        min_visible_pixels=1,
    )
    one = still()
    clip = Clip("c", np.repeat(one.images, 2, 0), np.repeat(one.masks, 2, 0), one.labels)
    whole, flips = 0, 0
    for seed in range(60):
        made = augment_clip(clip, config, np.random.default_rng(seed))
        short = made.frame_sizes.min(axis=1)
        assert short[0] == short[1] and short[0] in (40, 56, 72)
        if made.sizes is None:  # not cropped: the same view twice
            whole += 1
            assert np.array_equal(made.images[0], made.images[1])
        if len(made.labels) == 2 and made.present.all():
            # flipping only one frame would change the order of the two discs
            left = [[np.argwhere(made.masks[t, g]).mean(axis=0)[1] for g in (0, 1)] for t in (0, 1)]
            assert (left[0][0] < left[0][1]) == (left[1][0] < left[1][1])
            flips += left[0][0] > left[0][1]
    assert 15 < whole < 45 and flips > 5


def test_a_fixed_size_keeps_the_size_of_each_view():
    config = VIEWS.model_copy(update={"size": FixedSize(height=40, width=60)})
    made = pair(still(), config, seed=3)
    assert made.images.shape[1:3] == (40, 60)
    assert (made.frame_sizes <= (40, 60)).all()
    assert ((made.frame_sizes == (40, 60)).any(axis=1)).all()


def test_a_batch_of_pairs_knows_the_size_of_every_frame():
    pairs = [pair(still(), seed=seed) for seed in (0, 1)]
    batch = collate_clips([*pairs, video()])
    assert batch.sizes.shape == (3, 2, 2)
    for b, clip in enumerate([*pairs, video()]):
        for t in range(2):
            high, wide = batch.sizes[b, t].tolist()
            assert [high, wide] == clip.frame_sizes[t].tolist()
            inside = torch.from_numpy(clip.images[t, :high, :wide].copy()).permute(2, 0, 1)
            assert torch.equal(batch.images[b, t, :, :high, :wide], inside)
            assert not batch.images[b, t, :, high:].any()
            assert int(batch.masks[b][t].sum()) == int(clip.masks[t].sum())


def test_a_pair_survives_its_row_with_the_sizes_of_its_frames():
    categories = Categories((3, 7, 90), ("cat", "dog", "cow"))
    made = pair(still(), seed=2)
    back = row_to_clip(clip_to_row(made, 5, categories), categories)
    assert np.array_equal(back.sizes, made.sizes) and np.array_equal(back.masks, made.masks)
    assert np.abs(back.images.astype(int) - made.images).mean() < 4


def unpacked(values, name):
    """Unpacks a bool array that was packed into bits."""
    shape = values[f"{name}_shape"]
    return np.unpackbits(values[name], count=int(np.prod(shape))).reshape(shape).astype(bool)


@pytest.mark.parity
@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_recorded_transforms_give_the_released_pairs(path):
    case = json.loads((path.parent / "pairs_cases.json").read_text())[path.stem]
    with np.load(path) as file:
        values = dict(file)
    of_video = "selected_frames" in case
    lists = case["annotations"] if of_video else [case["annotations"]] * 2
    shown = [{a["id"]: a["segmentation"] for a in every if not a["iscrowd"]} for every in lists]
    identities = sorted({identity for frame in shown for identity in frame})
    for t, steps in enumerate(case["transforms"]):
        image = values[f"f{t}_input_image"] if of_video else values["image"]
        expected = values[f"f{t}_image"].transpose(1, 2, 0)
        found = recorded_image(image, steps)
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected).max() <= MAX_IMAGE_DIFFERENCE
        released = unpacked(values, f"f{t}_masks")
        present = values[f"f{t}_ids"] >= 0
        assert len(identities) == len(released) == len(present)
        for g, identity in enumerate(identities):
            polygons = shown[t].get(identity, [])
            mask = recorded_mask(polygons, steps, *expected.shape[:2])
            assert (mask != released[g]).sum() <= MAX_MASK_PIXELS, f"frame {t} instance {g}"
            if mask.sum() > MAX_MASK_PIXELS:
                assert present[g], f"frame {t} instance {g}"
            assert present[g] or not released[g].any()
            if of_video and present[g]:
                ys, xs = np.nonzero(mask)
                box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
                assert np.abs(box - values[f"f{t}_boxes_xyxy"][g]).max() <= 1
