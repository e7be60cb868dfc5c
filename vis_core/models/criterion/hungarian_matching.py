"""Matching of queries with ground truth at minimum cost (DETR 3.1, Mask2Former 3.3)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from scipy.optimize import linear_sum_assignment
from torch import Tensor

UNMATCHED = -1


@dataclass(frozen=True)
class MatchingWeights:
    """The weights of the three costs; the defaults are Mask2Former's."""

    class_: float = 2.0
    mask: float = 5.0
    dice: float = 5.0


def matching_cost(
    class_logits: Tensor,
    point_logits: Tensor,
    labels: Tensor,
    point_targets: Tensor,
    weights: MatchingWeights,
) -> Tensor:
    """Computes the cost of every pair of a query and a true instance in one frame.

    Args:
        class_logits: (Q, K + 1), "no object" last.
        point_logits: (Q, P) mask logits at points.
        labels: (G,) int64.
        point_targets: (G, P) true masks at the same points.
        weights: Cost weights.

    Returns:
        (Q, G) costs, low for similar pairs.
    """
    class_cost = -class_logits.softmax(dim=1)[:, labels]
    positive, negative = functional.softplus(-point_logits), functional.softplus(point_logits)
    mask_cost = positive @ point_targets.T + negative @ (1 - point_targets).T
    mask_cost = mask_cost / point_logits.shape[1]
    probabilities = point_logits.sigmoid()
    overlap = 2 * probabilities @ point_targets.T
    total = probabilities.sum(1)[:, None] + point_targets.sum(1)[None]
    dice_cost = 1 - (overlap + 1) / (total + 1)
    return weights.class_ * class_cost + weights.mask * mask_cost + weights.dice * dice_cost


def hungarian_matching(cost: Tensor) -> Tensor:
    """Matches each true instance with one query at minimum total (Q, G) cost; returns (G,) int64.

    NaN and infinite costs count as very high. If G exceeds Q, G - Q instances remain
    ``UNMATCHED``.
    """
    safe = torch.nan_to_num(cost.detach().float(), nan=1e10, posinf=1e10, neginf=-1e10)
    query, instance = linear_sum_assignment(safe.cpu().numpy())
    matched = torch.full((cost.shape[1],), UNMATCHED)
    matched[torch.from_numpy(instance)] = torch.from_numpy(query)
    return matched.to(cost.device)
