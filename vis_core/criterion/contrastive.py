"""Contrastive losses between anchors, positives and negatives. Dot products, no temperature.

IDOL Eq. 4 is the log of a double sum, STC Eq. 3 a sum of logs; they agree only for one positive.
"""

import torch.nn.functional as functional
from torch import Tensor


def contrastive_loss(
    anchors: Tensor, positives: Tensor, negatives: Tensor, negative_mask: Tensor
) -> Tensor:
    """Computes ``log(1 + sum_+ sum_- exp(v.k- - v.k+))``, averaged over items.

    CTVIS Eq. 5 and IDOL Eq. 3 (one positive); IDOL Eq. 4 and the 2nd place's Eq. 1 (several).
    ``per_positive_loss`` is the other reading, a sum of logs (STC Eq. 3).

    Args:
        anchors: (I, C) embeddings v.
        positives: (I, A, C) embeddings k+, all of them counted.
        negatives: (I, P, C) embeddings k-.
        negative_mask: (I, P) bool, which of the negatives count.

    Returns:
        Scalar.
    """
    differences = _differences(anchors, positives, negatives, negative_mask)
    # log(1 + sum exp(x)) = softplus(logsumexp(x)), which does not overflow
    return functional.softplus(differences.flatten(1).logsumexp(dim=1)).mean()


def per_positive_loss(
    anchors: Tensor, positives: Tensor, negatives: Tensor, negative_mask: Tensor
) -> Tensor:
    """Computes ``sum_+ log(1 + sum_- exp(v.k- - v.k+))``, averaged over items.

    STC Eq. 3-4. ``contrastive_loss`` is the other reading, the log of a double sum (IDOL Eq. 4).

    Args:
        anchors: (I, C) queries.
        positives: (I, A, C) keys of the same instance.
        negatives: (I, P, C) other keys.
        negative_mask: (I, P) bool, which of the negatives count.

    Returns:
        Scalar.
    """
    differences = _differences(anchors, positives, negatives, negative_mask)
    return functional.softplus(differences.logsumexp(dim=2)).sum(dim=1).mean()


def cosine_auxiliary_loss(
    anchors: Tensor, positives: Tensor, negatives: Tensor, negative_mask: Tensor
) -> Tensor:
    """Averages the squared error of cosines: 1 for the positive, 0 for negatives.

    Released CTVIS (loss_aux_reid, weight 3); the paper does not have it.

    Args:
        anchors: (I, C).
        positives: (I, C), one for each anchor.
        negatives: (I, P, C).
        negative_mask: (I, P) bool, which of the negatives count.

    Returns:
        Scalar: the mean over the keys of each item, then over items.
    """
    positive_error = (functional.cosine_similarity(anchors, positives, dim=1) - 1).square()
    cosines = functional.cosine_similarity(anchors[:, None], negatives, dim=2)
    negative_error = (cosines.square() * negative_mask).sum(dim=1)
    return ((positive_error + negative_error) / (1 + negative_mask.sum(dim=1))).mean()


def _differences(
    anchors: Tensor, positives: Tensor, negatives: Tensor, negative_mask: Tensor
) -> Tensor:
    """Gives ``v.k- - v.k+`` of every pair (I, A, P); minus infinity where k- does not count."""
    positive = (positives @ anchors[:, :, None]).squeeze(2)
    negative = (negatives @ anchors[:, :, None]).squeeze(2)
    negative = negative.masked_fill(~negative_mask, float("-inf"))
    return negative[:, None, :] - positive[:, :, None]
