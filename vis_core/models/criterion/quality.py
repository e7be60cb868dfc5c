"""The loss for the quality assessment module, which rates predicted masks (1st place 2.3)."""

import torch
from torch import Tensor


@torch.no_grad()
def mask_iou(predicted: Tensor, truth: Tensor) -> Tensor:
    """Computes the IoU of predicted and true masks, the module's target: 1st place Eq. 3.

    Both masks are (N, h, w) bool; predictions are binarised at 0.5. Returns (N,) in [0, 1], and 0
    where both masks are empty.
    """
    common = (predicted & truth).flatten(1).sum(dim=1)
    either = (predicted | truth).flatten(1).sum(dim=1)
    return common / either.clamp(min=1)


def quality_loss(qualities: Tensor, mask_logits: Tensor, truth: Tensor) -> Tensor:
    """Computes the error of predicted qualities relative to the mask IoU: 1st place Eq. 4.

    Returns the (N,) squared differences between ``qualities`` in [0, 1] and the IoU of (N, h, w)
    ``mask_logits`` with (N, h, w) bool ``truth``. The masks receive no gradient.
    """
    return (qualities - mask_iou(mask_logits > 0, truth)).square()
