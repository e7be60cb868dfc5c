"""Losses between mask logits and true masks, both given at points (P) or pixels."""

import torch.nn.functional as functional
from torch import Tensor


def mask_bce_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Averages the binary cross entropy over the points of each mask.

    Args:
        logits: (N, P).
        targets: (N, P) in [0, 1].

    Returns:
        (N,) one loss a mask.
    """
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Measures one minus the (smoothed) dice overlap of each mask.

    Mask2Former 3.3, as released: plain sums in the denominator and 1 added above and below.

    Args:
        logits: (N, P).
        targets: (N, P) in [0, 1].

    Returns:
        (N,) one loss a mask in [0, 1].
    """
    probabilities = logits.sigmoid()
    overlap = 2 * (probabilities * targets).sum(1)
    return 1 - (overlap + 1) / (probabilities.sum(1) + targets.sum(1) + 1)
