"""Contrastive losses between anchors and keys: dot products without a temperature.

IDOL Eq. 4 is the log of a double sum, STC Eq. 3 a sum of logs; they agree only for one positive.
"""

import torch
import torch.nn.functional as functional
from torch import Tensor


def contrastive_loss(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor,
    negative_mask: Tensor,
    positive_mask: Tensor | None = None,
) -> Tensor:
    """Computes ``log(1 + sum_+ sum_- exp(v.k- - v.k+))``, averaged over items.

    One positive: CTVIS Eq. 5, IDOL Eq. 3; several positives: IDOL Eq. 4, the 2nd place's Eq. 1.

    Args:
        anchors: (I, C) embeddings v.
        positives: (I, A, C) embeddings k+.
        negatives: (I, P, C) embeddings k-.
        negative_mask: (I, P) bool, True for valid negatives.
        positive_mask: (I, A) bool, True for valid positives; None if all are valid.

    Returns:
        Scalar; an item that lacks positives, or lacks negatives, counts as 0 in the mean.
    """
    # the double sum is a product of two sums, so no pairs are formed
    away = _counted(_products(anchors, negatives), negative_mask).logsumexp(dim=1)
    towards = _counted(-_products(anchors, positives), positive_mask).logsumexp(dim=1)
    # log(1 + sum exp(x)) = softplus(logsumexp(x)), which does not overflow
    return functional.softplus(away + towards).mean()


def per_positive_loss(
    products: Tensor, positive_mask: Tensor, negative_mask: Tensor, *, mean: bool = False
) -> Tensor:
    """Computes ``sum_+ log(1 + sum_- exp(q.k- - q.k+))`` for each query: STC Eq. 3.

    Args:
        products: (I, P) dot products of I queries with the same P keys.
        positive_mask: (I, P) bool, True for keys used as positives of a query.
        negative_mask: (I, P) bool, True for keys used as negatives of a query.
        mean: Whether to average over the positives, so that all queries have equal weight.

    Returns:
        (I,), with 0 for a query that lacks positives or lacks negatives.
    """
    away = _counted(products, negative_mask).logsumexp(dim=1)
    # log(1 + sum exp(x - k)) = softplus(logsumexp(x) - k): no pairs are formed
    terms = functional.softplus(away[:, None] - products) * positive_mask
    total = terms.sum(dim=1)
    return total / positive_mask.sum(dim=1).clamp(min=1) if mean else total


def cosine_auxiliary_loss(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor,
    negative_mask: Tensor,
    positive_mask: Tensor | None = None,
) -> Tensor:
    """Computes the mean squared error of cosines: targets are 1 for positives, 0 for negatives.

    The releases of IDOL and CTVIS have this loss (loss_reid_aux, loss_aux_reid, weight 3), but the
    papers do not. The arguments are those of ``contrastive_loss``. Averages over each item's keys,
    then over items.
    """
    if positive_mask is None:
        positive_mask = torch.ones_like(positives[:, :, 0], dtype=torch.bool)
    towards = functional.cosine_similarity(anchors[:, None], positives, dim=2)
    away = functional.cosine_similarity(anchors[:, None], negatives, dim=2)
    errors = torch.cat([towards - 1, away], dim=1).square()
    counted = torch.cat([positive_mask, negative_mask], dim=1)
    return ((errors * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)).mean()


def _products(anchors: Tensor, keys: Tensor) -> Tensor:
    return (keys @ anchors[:, :, None]).squeeze(2)


def _counted(exponents: Tensor, mask: Tensor | None) -> Tensor:
    """Sets the exponents (I, P) outside the mask to -inf, so that they add 0 to a sum."""
    return exponents if mask is None else exponents.masked_fill(~mask, float("-inf"))
