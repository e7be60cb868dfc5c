"""Losses between mask logits and true masks, at P points or pixels."""

import torch.nn.functional as functional
from torch import Tensor

from vis_core.models.criterion.classification import focal_loss


def mask_bce_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Averages the (N, P) binary cross entropy over each mask's points; targets in [0, 1]."""
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)


def mask_focal_loss(logits: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    """Averages the (N, P) ``focal_loss`` over each mask's pixels (IDOL 3.1)."""
    return focal_loss(logits, targets, alpha, gamma).mean(1)


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Computes one minus the smoothed dice overlap of each mask.

    Defined as in Mask2Former 3.3, IDOL 3.1 and the releases: the sums in the denominator are not of
    squares, and 1 is added to numerator and denominator. Takes (N, P) logits and (N, P) targets in
    [0, 1]; returns (N,) losses in [0, 1].
    """
    probabilities = logits.sigmoid()
    overlap = 2 * (probabilities * targets).sum(1)
    return 1 - (overlap + 1) / (probabilities.sum(1) + targets.sum(1) + 1)


def squared_dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Computes one minus the dice overlap with squares in the denominator: 1st place Eq. 2.

    ``1 - 2 sum p q / (sum p^2 + sum q^2 + eps)``; the paper gives no eps, so it is 1e-5, as in
    CondInst. Two empty masks have a loss of 1. Shapes and ranges are those of ``dice_loss``.
    """
    probabilities = logits.sigmoid()
    overlap = 2 * (probabilities * targets).sum(1)
    return 1 - overlap / (probabilities.square().sum(1) + targets.square().sum(1) + 1e-5)
