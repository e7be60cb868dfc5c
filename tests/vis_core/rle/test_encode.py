"""Run lengths equal those of pycocotools byte for byte."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from vis_core.rle.encode import runs_of_box, strings_of_masks, strings_of_runs
from vis_core.rle.frame_masks import areas_on_device, strings_on_device

Write = Callable[[np.ndarray], list[str]]


@pytest.fixture(params=["boxes", "device"])
def write(request: pytest.FixtureRequest) -> Write:
    """Writes masks in both ways."""
    if request.param == "boxes":
        return strings_of_masks
    return lambda masks: strings_on_device(torch.from_numpy(masks))


def reference(masks: np.ndarray) -> list[str]:
    columns_first = np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8))
    return [rle["counts"].decode() for rle in coco_mask.encode(columns_first)]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_random_masks_are_written_as_pycocotools_does(write: Write, share: float) -> None:
    generator = np.random.default_rng(0)
    for _ in range(300):
        height, width, count = generator.integers(1, 40, 3)
        masks = generator.random((count, height, width)) < share
        assert write(masks) == reference(masks)


def test_boxes_that_touch_the_borders_are_written_as_pycocotools_does(write: Write) -> None:
    generator = np.random.default_rng(1)
    for _ in range(500):
        height, width = generator.integers(1, 30, 2)
        masks = np.zeros((6, height, width), bool)
        for mask in masks:
            (top, bottom), (left, right) = (
                sorted(generator.integers(0, side + 1, 2)) for side in (height, width)
            )
            mask[top:bottom, left:right] = True
        masks[0, 0], masks[1, -1], masks[2, :, 0], masks[3, :, -1] = True, True, True, True
        assert write(masks) == reference(masks)


def test_long_runs_need_several_digits(write: Write) -> None:
    masks = np.zeros((3, 3000, 2000), bool)
    masks[0, 5:2990, 3:1990] = True
    masks[1, :, 1000:] = True
    masks[2, 2999, 1999] = True
    assert write(masks) == reference(masks)


def test_no_masks_give_no_strings(write: Write) -> None:
    assert write(np.zeros((0, 4, 5), bool)) == []


def test_pixels_are_counted_on_a_device() -> None:
    masks = np.random.default_rng(2).random((5, 7, 9)) < 0.3
    assert areas_on_device(torch.from_numpy(masks)) == masks.sum(axis=(1, 2)).tolist()
    assert areas_on_device(torch.zeros(0, 7, 9, dtype=torch.bool)) == []


def test_a_box_is_written_like_the_whole_mask() -> None:
    generator = np.random.default_rng(3)
    for _ in range(500):
        height, width = generator.integers(1, 20, 2)
        top, left = generator.integers(0, height), generator.integers(0, width)
        high, wide = (
            generator.integers(1, height - top + 1),
            generator.integers(1, width - left + 1),
        )
        box = generator.random((high, wide)) < generator.choice([0.0, 0.3, 1.0])
        mask = np.zeros((1, height, width), bool)
        mask[0, top : top + high, left : left + wide] = box
        runs = runs_of_box(box, int(top), int(left), (int(height), int(width)))
        assert strings_of_runs([runs]) == reference(mask)
