"""Box, focal and contrastive losses: by hand, against the loop, empty, from the reference."""

import math
from itertools import product
from pathlib import Path

import pytest
import torch

from tests.conftest import reference_cases
from tests.helpers.closeness import assert_near, recorded_values
from vis_core.models.criterion.box import giou_box_loss, l1_box_loss
from vis_core.models.criterion.classification import focal_loss
from vis_core.models.criterion.contrastive import contrastive_loss, cosine_auxiliary_loss
from vis_core.models.criterion.mask import dice_loss, mask_focal_loss

ELEMENTARY = reference_cases("idol/losses_elementary*.npz")
CONTRASTIVE = reference_cases("idol/contrastive_loss_only*.npz")


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_gradients_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Compares gradients; the recorded float32 ones are up to 3e-5 from those in float64."""
    assert_near(found, expected, share=1e-4)


def items() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Builds three items over eight keys: anchors, keys, negatives in use, positives in use."""
    role = torch.tensor(
        [[0, 0, 1, 1, 1, 2, 2, 1], [0, 1, 1, 1, 1, 1, 1, 1], [0, 0, 2, 2, 2, 2, 2, 2]]
    )
    anchors, keys = drawn(3, 4), drawn(3, 8, 4, seed=1)
    return anchors, keys, role == 1, role == 0


def test_boxes_by_hand() -> None:
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.2, 0.5, 0.2, 0.2]])
    targets = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.6, 0.5, 0.2, 0.2]])
    torch.testing.assert_close(l1_box_loss(boxes, targets), torch.tensor([0.0, 0.4]))
    # 0.2 apart: a third of the enclosure 0.6 x 0.2 is empty
    assert_near(giou_box_loss(boxes, targets), torch.tensor([0.0, 4 / 3]))
    assert l1_box_loss(boxes[:0], targets[:0]).shape == (0,)
    assert giou_box_loss(boxes[:0], targets[:0]).shape == (0,)


def test_focal_loss_equals_the_loop() -> None:
    logits = drawn(3, 4)
    targets = (drawn(3, 4, seed=1) > 0).float()
    found = focal_loss(logits, targets, 0.25, 2.0)
    for row, column in product(range(3), range(4)):
        probability = 1 / (1 + math.exp(-logits[row, column].item()))
        true = targets[row, column].item() == 1
        right = probability if true else 1 - probability
        expected = -(0.25 if true else 0.75) * (1 - right) ** 2 * math.log(right)
        assert found[row, column].item() == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(mask_focal_loss(logits, targets, 0.25, 2.0), found.mean(1))
    assert mask_focal_loss(logits[:0], targets[:0], 0.25, 2.0).shape == (0,)


def test_focal_gradient_is_finite_for_large_logits() -> None:
    logits = torch.tensor([-200.0, 200, -200, 200], requires_grad=True)
    focal_loss(logits, torch.tensor([0.0, 0, 1, 1]), 0.25, 2.0).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_contrastive_losses_with_masks_equal_the_loops() -> None:
    anchors, keys, negative, positive = items()
    losses, errors = [], []
    for v, own, away, near in zip(anchors, keys, negative, positive, strict=True):
        pairs = product(own[near], own[away])
        losses.append(math.log(1 + sum(math.exp(float(v @ k - v @ p)) for p, k in pairs)))
        wanted = [(key, 1) for key in own[near]] + [(key, 0) for key in own[away]]
        cosines = [(float(v @ k / v.norm() / k.norm()), label) for k, label in wanted]
        errors.append(sum((c - label) ** 2 for c, label in cosines) / len(cosines))
    loss = contrastive_loss(anchors, keys, keys, negative, positive)
    assert loss.item() == pytest.approx(sum(losses) / 3, rel=1e-5)
    auxiliary = cosine_auxiliary_loss(anchors, keys, keys, negative, positive)
    assert auxiliary.item() == pytest.approx(sum(errors) / 3, rel=1e-5)


def test_items_without_positives_or_negatives_cost_nothing_and_keep_gradients_finite() -> None:
    anchors, keys, negative, positive = items()
    keys.requires_grad_()
    nothing = torch.zeros_like(positive)
    for near, away in ((nothing, negative), (positive, nothing), (nothing, nothing)):
        loss = contrastive_loss(anchors, keys, keys, away, near)
        assert loss.item() == 0
        whole = loss + cosine_auxiliary_loss(anchors, keys, keys, away, near)
        (gradient,) = torch.autograd.grad(whole, keys)
        assert gradient.isfinite().all()


@pytest.mark.parity
@pytest.mark.parametrize("path", ELEMENTARY, ids=lambda path: path.stem)
def test_focal_and_dice_are_the_authors(path: Path) -> None:
    values = recorded_values(path)
    logits, truth = values["mask_logits"], values["mask_targets"]
    found = {
        "dice": dice_loss(logits, truth).mean(),
        "mask_focal": mask_focal_loss(logits, truth, 0.25, 2.0).mean(),
        "class_focal": focal_loss(values["class_logits"], values["class_targets"], 0.25, 2.0).sum()
        / values["num_pos"],
    }
    for name, value in found.items():
        assert_near(value, values[name])


@pytest.mark.parity
@pytest.mark.parametrize("path", CONTRASTIVE, ids=lambda path: path.stem)
def test_contrastive_losses_and_gradients_are_the_authors(path: Path) -> None:
    values = recorded_values(path)
    cases = [name.removesuffix("_key") for name in values if name.endswith("_key")]
    cases = [case for case in cases if f"{case}_positives" in values]
    assert cases
    for case in cases:
        key = values[f"{case}_key"].requires_grad_()
        num_positives = len(values[f"{case}_positives"])
        samples = torch.cat([values[f"{case}_positives"], values[f"{case}_negatives"]])
        samples.requires_grad_()
        positives, negatives = samples[None, :num_positives], samples[None, num_positives:]
        every = torch.ones(negatives.shape[:2], dtype=torch.bool)
        drawn_ids = values[f"{case}_aux_negative_ids"]
        sampled = torch.zeros_like(every).index_fill(1, drawn_ids.long(), True)
        losses = {
            "reid": contrastive_loss(key, positives, negatives, every),
            "aux": cosine_auxiliary_loss(key, positives, negatives, sampled),
        }
        recorded = {"reid": "loss_reid", "aux": "loss_reid_aux"}
        for name, loss in losses.items():
            assert_near(loss, values[f"{case}_{recorded[name]}"])
            for_key, for_samples = torch.autograd.grad(loss, (key, samples))
            assert_gradients_close(for_key, values[f"{case}_grad_{name}_key"])
            assert_gradients_close(for_samples, values[f"{case}_grad_{name}_samples"])
