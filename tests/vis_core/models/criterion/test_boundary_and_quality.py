"""Boundaries and qualities: by hand, and as in the code of the report (ctvis/, 6)."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import reference_cases
from tests.helpers.closeness import assert_near, recorded_values
from vis_core.geometry.masks import mask_boundary
from vis_core.models.criterion.boundary import boundary_loss
from vis_core.models.criterion.mask import dice_loss, mask_bce_loss, squared_dice_loss
from vis_core.models.criterion.quality import mask_iou, quality_loss

RECORDED = reference_cases("ctvis/boundary_quality.npz")


@pytest.mark.parity
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_boundaries_and_their_loss_are_those_of_bmask(path: Path) -> None:
    values = recorded_values(path)
    boundaries = mask_boundary(values["masks"])
    assert torch.equal(boundaries, values["boundary_targets"])
    logits = values["boundary_logits"]
    flat, targets = logits.flatten(1), boundaries.flatten(1).float()
    assert_near(mask_bce_loss(flat, targets).mean(), values["bce"])
    assert_near(dice_loss(flat, targets).mean(), values["dice_bmask"])
    loss = boundary_loss(logits, boundaries, "plain").mean()
    assert_near(loss, values["boundary_loss_bce_plus_dice"])
    half = values["half_targets_nearest"] > 0
    loss = boundary_loss(values["half_logits"], half, "plain").mean()
    assert_near(loss, values["half_loss"])


@pytest.mark.parity
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_qualities_are_those_of_qdmn(path: Path) -> None:
    values = recorded_values(path)
    masks, predicted = values["masks"], values["pred_masks"]
    assert_near(mask_iou(predicted, masks), values["mask_iou"][:, 0])
    losses = quality_loss(values["scores"][:, 0], predicted.float() - 0.5, masks)
    assert_near(losses.mean(), values["quality_mse"])


def test_the_boundary_of_a_square_is_its_rim() -> None:
    square = torch.zeros(1, 6, 6, dtype=torch.bool)
    square[0, 1:5, 1:5] = True
    rim = square.clone()
    rim[0, 2:4, 2:4] = False
    assert torch.equal(mask_boundary(square), rim)
    everything = torch.ones(1, 3, 3, dtype=torch.bool)
    assert mask_boundary(everything)[0].sum() == 8  # all but the middle
    assert not mask_boundary(~everything).any()


def test_a_boundary_equals_the_loop_over_neighbours() -> None:
    draw = np.random.default_rng(3)
    mask = draw.random((9, 12)) < 0.7
    padded = np.pad(mask, 1)
    wanted = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        wanted[y, x] = not padded[y : y + 3, x : x + 3].all()
    assert (mask_boundary(torch.from_numpy(mask[None]))[0].numpy() == wanted).all()


def test_equations_1_to_4_by_hand() -> None:
    # two pixels with probabilities 0.8 and 0.4, the first of which is a boundary
    logits = torch.tensor([[[math.log(4), math.log(2 / 3)]]])
    truth = torch.tensor([[[True, False]]])
    dice = 1 - 2 * 0.8 / (0.64 + 0.16 + 1 + 1e-5)
    bce = -(math.log(0.8) + math.log(0.6)) / 2
    found = squared_dice_loss(logits.flatten(1), truth.flatten(1).float())
    assert found.tolist() == [pytest.approx(dice)]
    assert boundary_loss(logits, truth).tolist() == [pytest.approx(dice + bce)]
    both = torch.tensor([[[True, True]]])
    assert mask_iou(truth, both).tolist() == [0.5]
    assert quality_loss(torch.tensor([0.8]), logits, both).tolist() == [pytest.approx(0.09)]
    nothing = torch.zeros(1, 1, 2, dtype=torch.bool)
    assert mask_iou(nothing, nothing).tolist() == [0.0]


def test_no_instance_has_no_loss_and_the_masks_no_gradient_from_their_quality() -> None:
    assert boundary_loss(torch.zeros(0, 3, 4), torch.zeros(0, 3, 4, dtype=torch.bool)).shape == (0,)
    qualities = torch.tensor([0.3, 0.9], requires_grad=True)
    logits = torch.randn(2, 3, 4, requires_grad=True)
    quality_loss(qualities, logits, torch.rand(2, 3, 4) > 0.5).sum().backward()
    assert logits.grad is None
    assert torch.isfinite(qualities.grad).all()
