"""Matching of several queries with each true instance by optimal transport (IDOL 3.1, A.2).

The release solves the transport with a dynamic top-k (simOTA): each instance takes its k cheapest
queries, where k is the sum of its best IoUs. The detection losses use this matching. On the
reference frame, it chooses the contrastive loss's positives and negatives.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from vis_core.config.criterion import TransportConfig
from vis_core.geometry.boxes import box_iou, generalized_iou, to_xyxy

# Keeps the class cost's logarithms finite (IDOL release).
_MIN_PROBABILITY = 1e-8


@dataclass(frozen=True)
class TransportMatching:
    """The queries in one frame that are matched with instances."""

    queries: Tensor  # (N,) int64 matched queries, ascending
    instances: Tensor  # (N,) int64 instance of each query; the first if there are several
    best_query: Tensor  # (G,) int64 cheapest matched query for each instance


@dataclass(frozen=True)
class FrameGuess:
    """The predictions of Q queries for one frame."""

    probabilities: Tensor  # (Q, K) for independent classes (sigmoid), without a background class
    boxes_cxcywh_norm: Tensor  # (Q, 4) normalised by the unpadded image size


@dataclass(frozen=True)
class FrameTruth:
    """The classes and boxes of the G true instances in one frame."""

    labels: Tensor  # (G,) int64
    boxes_cxcywh_norm: Tensor  # (G, 4) normalised by the unpadded image size


@torch.no_grad()
def transport_matching(
    guess: FrameGuess, truth: FrameTruth, config: TransportConfig
) -> TransportMatching:
    """Chooses the queries matched with each instance in one frame (IDOL 3.1)."""
    cost, chosen = dynamic_top_k(
        transport_cost(guess, truth, config), _pair_iou(guess, truth), config.positive_ious, config
    )
    queries = chosen.any(dim=1).nonzero().flatten()
    # argmax returns the first of equal values; a frame without instances has no queries
    instances = chosen[queries].long().argmax(dim=1) if len(truth.labels) else queries
    best_query = cost.masked_fill(~chosen, float("inf")).argmin(dim=0)
    return TransportMatching(queries, instances, best_query)


@torch.no_grad()
def transport_cost(guess: FrameGuess, truth: FrameTruth, config: TransportConfig) -> Tensor:
    """Computes the (Q, G) costs of pairing queries with instances, low for similar pairs.

    Focal class cost - ``giou_weight`` * GIoU + ``outside_cost`` where the query's centre is not in
    both box and centre area + ``background_cost`` where it is in no instance's box or centre area.
    """
    boxes, true_boxes = guess.boxes_cxcywh_norm.float(), truth.boxes_cxcywh_norm
    class_cost = _focal_cost(guess.probabilities.float(), config)[:, truth.labels]
    giou = generalized_iou(to_xyxy(boxes)[:, None], to_xyxy(true_boxes)[None])
    foreground, central = foreground_and_central(boxes, true_boxes, config.center_radius)
    cost = class_cost - config.giou_weight * giou + config.outside_cost * ~central
    return cost + config.background_cost * ~foreground[:, None]


def foreground_and_central(
    boxes: Tensor, true_boxes: Tensor, center_radius: float
) -> tuple[Tensor, Tensor]:
    """Locates the centres of (Q, 4) boxes relative to (G, 4) true boxes, both cxcywh.

    Returns (Q,) bool, whether a centre is in any true box or centre area, and (Q, G) bool, whether
    it is in both the box and the centre area of an instance.
    """
    center = boxes[:, None, :2]
    corners, true_center = to_xyxy(true_boxes), true_boxes[:, :2]
    in_box = ((center > corners[:, :2]) & (center < corners[:, 2:])).all(dim=2)
    near, far = true_center - center_radius, true_center + center_radius
    in_center = ((center > near) & (center < far)).all(dim=2)
    return (in_box | in_center).any(dim=1), in_box & in_center


@torch.no_grad()
def dynamic_top_k(
    cost: Tensor, iou: Tensor, num_ious: int, config: TransportConfig
) -> tuple[Tensor, Tensor]:
    """Chooses the k cheapest queries for each instance, where k is the sum of its best IoUs.

    IDOL A.2, as in the release: k is at least 1. If several instances choose a query, only the
    cheapest pair is kept. Each instance that has no query left then chooses one of the
    unused queries. Conflicts over unused queries are not resolved, so two instances may share one.

    Takes (Q, G) costs and IoUs, and sums each instance's ``num_ious`` best IoUs. Returns the costs
    and the choices; as in the release, a second choice raises the costs of the queries in use.
    """
    chosen = cost.argsort(dim=0, stable=True).argsort(dim=0) < dynamic_k(iou, num_ious)
    if chosen.shape[1] == 0:
        return cost, chosen
    contested = chosen.sum(dim=1) > 1
    chosen = _resolve_conflicts(chosen, cost, contested)
    for _ in range(config.max_repairs):
        unmatched = (~chosen.any(dim=0)).nonzero().flatten()
        if len(unmatched) == 0:
            return cost, chosen
        cost = cost + config.repair_cost * chosen.any(dim=1, keepdim=True)
        chosen[cost[:, unmatched].argmin(dim=0), unmatched] = True
        shared = (chosen.sum(dim=1) > 1).any()
        chosen = _resolve_conflicts(chosen, cost, contested & shared)
    unmatched = (~chosen.any(dim=0)).nonzero().flatten()
    chosen[cost[:, unmatched].argmin(dim=0), unmatched] = True
    return cost, chosen


def dynamic_k(iou: Tensor, num_ious: int) -> Tensor:
    """Returns the (G,) int64 number of queries per instance: the truncated sum of its best IoUs."""
    best = iou.topk(min(num_ious, len(iou)), dim=0).values
    return best.sum(dim=0).long().clamp(min=1)


@torch.no_grad()
def select_pairs(
    guess: FrameGuess, truth: FrameTruth, config: TransportConfig
) -> tuple[Tensor, Tensor]:
    """Chooses each instance's positives and negatives on the reference frame (IDOL 3.2, A.2).

    The cheapest queries are positives; their number is the sum of the 10 best IoUs. The sum of the
    100 best IoUs is the number of cheapest queries that are not negatives. Another instance's query
    is a negative. Returns (G, Q) bool positives and (G, Q) bool negatives.
    """
    cost, iou = transport_cost(guess, truth, config), _pair_iou(guess, truth)
    cost, positive = dynamic_top_k(cost, iou, config.positive_ious, config)
    _, near = dynamic_top_k(cost, iou, config.negative_ious, config)
    return positive.T, ~near.T


@torch.no_grad()
def select_by_iou(
    guess: FrameGuess, truth: FrameTruth, config: TransportConfig
) -> tuple[Tensor, Tensor]:
    """Chooses positives above one box IoU and negatives below another (IDOL Table 6, A.2).

    The paper's thresholds are 0.7 and 0.3. Returns the same as ``select_pairs``, but an instance
    may have no positive.
    """
    iou = _pair_iou(guess, truth).T
    return iou > config.positive_iou, iou < config.negative_iou


Selection = Callable[[FrameGuess, FrameTruth, TransportConfig], tuple[Tensor, Tensor]]
SELECTIONS: dict[str, Selection] = {"transport": select_pairs, "iou": select_by_iou}


def _focal_cost(probabilities: Tensor, config: TransportConfig) -> Tensor:
    """Computes (Q, K) costs: a class's focal loss if it is true minus the loss if it is false."""
    alpha, gamma = config.focal_alpha, config.focal_gamma
    rest = 1 - probabilities
    as_true = -alpha * rest**gamma * (probabilities + _MIN_PROBABILITY).log()
    as_false = -(1 - alpha) * probabilities**gamma * (rest + _MIN_PROBABILITY).log()
    return as_true - as_false


def _pair_iou(guess: FrameGuess, truth: FrameTruth) -> Tensor:
    return box_iou(to_xyxy(guess.boxes_cxcywh_norm.float()), to_xyxy(truth.boxes_cxcywh_norm))


def _resolve_conflicts(chosen: Tensor, cost: Tensor, contested: Tensor) -> Tensor:
    """Assigns each contested query (Q,) to its cheapest instance."""
    cheapest = functional.one_hot(cost.argmin(dim=1), chosen.shape[1]).bool()
    return torch.where(contested[:, None], cheapest, chosen)
