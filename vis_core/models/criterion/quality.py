"""The loss of the quality assessment module (1st place 2.3), which rates predicted masks."""

import torch
from torch import Tensor


@torch.no_grad()
def mask_iou(predicted: Tensor, truth: Tensor) -> Tensor:
    """Computes the IoU of predicted and true masks, the target of the module: 1st place Eq. 3.

    Both are (N, h, w) bool, the predictions binarised at one half. Returns (N,) in [0, 1]; 0 where
    both are empty.
    """
    common = (predicted & truth).flatten(1).sum(dim=1)
    either = (predicted | truth).flatten(1).sum(dim=1)
    return common / either.clamp(min=1)


def quality_loss(qualities: Tensor, mask_logits: Tensor, truth: Tensor) -> Tensor:
    """Computes the error of predicted qualities against the IoU of the masks: 1st place Eq. 4.

    Returns the (N,) squared differences of ``qualities`` in [0, 1] from the IoU of (N, h, w)
    ``mask_logits`` with (N, h, w) bool ``truth``. The masks receive no gradient.
    """
    return (qualities - mask_iou(mask_logits > 0, truth)).square()
