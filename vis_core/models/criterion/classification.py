"""Classification losses: cross entropy with a "no object" class, focal loss without it."""

import torch
import torch.nn.functional as functional
from torch import Tensor


def query_class_loss(class_logits: Tensor, targets: Tensor, no_object_weight: float) -> Tensor:
    """Computes the queries' cross entropy, down-weighting "no object" (DETR 3.1, Mask2Former).

    Args:
        class_logits: (F, Q, K + 1), "no object" last.
        targets: (F, Q) int64 in 0..K.
        no_object_weight: Weight of the last class; the others have weight 1.

    Returns:
        Scalar, the weighted mean over all queries in all frames.
    """
    weight = torch.ones(class_logits.shape[-1], device=class_logits.device)
    weight[-1] = no_object_weight
    return functional.cross_entropy(class_logits.flatten(0, 1), targets.flatten(), weight)


def focal_loss(logits: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    """Computes the binary cross entropy, down-weighting easy examples (Lin 2017, IDOL 3.1).

    Args:
        logits: (...), independent classes or pixels (sigmoid).
        targets: (...) 0 or 1.
        alpha: Weight of targets that are 1; the others have weight ``1 - alpha``.
        gamma: Exponent of ``1 - p``, where p is the predicted probability of the target.
    """
    probabilities = logits.sigmoid()
    wrong = targets * (1 - probabilities) + (1 - targets) * probabilities
    weight = targets * alpha + (1 - targets) * (1 - alpha)
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return weight * wrong**gamma * entropy
