"""Raw masks are scaled to the pixels of the image."""

import pytest
import torch
from torch.nn.functional import interpolate

from vis_core.geometry.masks import InputSize, full_size_masks, masks_with_confidence


def naive_full_size(logits, size, image_size):
    """Scales mask by mask, as the formula reads."""
    rows = []
    for mask in logits:
        padded = interpolate(
            mask[None, None], (size.padded_height, size.padded_width), mode="bilinear"
        )
        cropped = padded[:, :, : size.resized_height, : size.resized_width]
        rows.append(interpolate(cropped, image_size, mode="bilinear")[0, 0] > 0)
    return torch.stack(rows)


@pytest.mark.parametrize("count", [1, 3, 8, 19])
def test_full_size_masks_equals_the_naive_loop(count):
    generator = torch.Generator().manual_seed(count)
    logits = torch.randn(count, 16, 24, generator=generator)
    size = InputSize(60, 91, 64, 96)
    assert torch.equal(
        full_size_masks(logits, size, (121, 183)), naive_full_size(logits, size, (121, 183))
    )


def test_a_frame_without_instances_gives_no_masks():
    masks = full_size_masks(torch.zeros(0, 4, 4), InputSize(16, 16, 16, 16), (30, 20))
    assert masks.shape == (0, 30, 20)
    assert masks.dtype == torch.bool


def test_the_padding_never_reaches_the_image():
    logits = torch.full((1, 8, 8), -1.0)
    logits[:, :, 6:] = 9.0  # the padded right quarter
    logits[:, 6:, :] = 9.0
    masks = full_size_masks(logits, InputSize(20, 20, 32, 32), (40, 40))
    assert not masks.any()


def test_a_mask_keeps_its_place_in_the_image():
    logits = torch.full((1, 8, 8), -5.0)
    logits[0, :4, 4:] = 5.0  # top right quarter
    masks = full_size_masks(logits, InputSize(32, 32, 32, 32), (64, 64))[0]
    assert masks[:30, 34:].all()
    assert not masks[34:].any()
    assert not masks[:, :30].any()


def test_half_precision_logits_are_resized_in_full_precision():
    logits = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0)).half()
    size = InputSize(32, 32, 32, 32)
    assert torch.equal(
        full_size_masks(logits, size, (50, 50)), full_size_masks(logits.float(), size, (50, 50))
    )


@pytest.mark.parametrize("last_resize", ["bilinear", "nearest"])
@pytest.mark.parametrize("count", [0, 1, 19])
def test_confidence_equals_the_naive_loop(count, last_resize):
    logits = torch.randn(count, 16, 24, generator=torch.Generator().manual_seed(count))
    size = InputSize(60, 91, 64, 96)
    masks, confidences = masks_with_confidence(logits, size, (121, 183), last_resize)
    assert torch.equal(masks, full_size_masks(logits, size, (121, 183), last_resize))
    assert confidences.shape == (count,)
    for mask, confidence, raw in zip(masks, confidences, logits, strict=True):
        padded = interpolate(raw[None, None], (64, 96), mode="bilinear")[:, :, :60, :91]
        values = interpolate(padded, (121, 183), mode=last_resize)[0, 0]
        assert float(confidence) == pytest.approx(float(values[mask].sigmoid().sum()), rel=1e-5)
