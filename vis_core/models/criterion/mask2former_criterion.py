"""The Mask2Former criterion: matching with the ground truth for every layer, and losses.

It equals transformers' ``Mask2FormerLoss`` for the same random points, but also handles all layers
at once, takes a generator for the random points and returns the matched queries. Losses
are means over all workers; in the releases, the mean of the class loss is per worker.
"""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from vis_core.geometry.points import random_points, sample_at, uncertain_points
from vis_core.models.criterion.batch_share import batch_count, batch_share
from vis_core.models.criterion.classification import query_class_loss
from vis_core.models.criterion.hungarian_matching import (
    UNMATCHED,
    MatchingWeights,
    hungarian_matching,
    matching_cost,
)
from vis_core.models.criterion.mask import dice_loss, mask_bce_loss
from vis_core.structures import FrameTargets


@dataclass(frozen=True)
class PointSampling:
    """The number and choice of points at which masks are compared (Mask2Former 3.3)."""

    num_points: int  # P
    oversample: float = 3.0  # candidates per point; the most uncertain ones are kept
    importance: float = 0.75  # share of the points chosen by uncertainty


@dataclass(frozen=True)
class QueryPredictions:
    """The predictions for F frames after each decoder layer."""

    class_logits: Tensor  # (L, F, Q, K + 1), "no object" last; the last layer is the result
    mask_logits: Tensor  # (L, F, Q, h, w)


def query_losses(
    predictions: QueryPredictions,
    targets: list[FrameTargets],
    sampling: PointSampling,
    no_object_weight: float,
    generator: torch.Generator | None = None,
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Computes the class, mask and dice losses, summed over layers (deep supervision).

    Args:
        predictions: For F frames.
        targets: F frames; masks with the padded input's size.
        sampling: Points for matching and losses.
        no_object_weight: Weight of the last class; the others have weight 1.
        generator: CPU generator for the random points.

    Returns:
        The unweighted losses ``class``, ``mask`` and ``dice``, and for each frame the (G,) query
        that the last layer matched with each instance, or ``UNMATCHED``.
    """
    matched = match_layers(predictions, targets, sampling, generator)
    found = [[query != UNMATCHED for query in frames] for frames in matched]
    counts = [len(target.labels) for target in targets]
    class_losses = [
        _class_loss(class_logits, targets, queries, no_object_weight)
        for class_logits, queries in zip(predictions.class_logits, matched, strict=True)
    ]
    places = list(product(*map(range, predictions.class_logits.shape[:2])))
    logits = torch.cat(
        [predictions.mask_logits[n, f, matched[n][f][found[n][f]]] for n, f in places]
    )
    truth = torch.cat([targets[f].masks[found[n][f]] for n, f in places])
    mask, dice = _mask_losses(logits, truth, sampling, generator)
    # a frame's queries weigh ``no_object_weight`` each, but those matched with an instance weigh 1
    num_queries = predictions.class_logits.shape[2]
    num_matched = sum(min(count, num_queries) for count in counts)
    weight = num_matched + no_object_weight * (len(counts) * num_queries - num_matched)
    share = batch_share(logits.new_tensor(weight))
    num_masks = batch_count(logits.new_tensor(sum(counts)))
    losses = {"class": torch.stack(class_losses).sum() * share}
    return losses | {"mask": mask / num_masks, "dice": dice / num_masks}, matched[-1]


@torch.no_grad()
def match_layers(
    predictions: QueryPredictions,
    targets: list[FrameTargets],
    sampling: PointSampling,
    generator: torch.Generator | None = None,
) -> list[list[Tensor]]:
    """Matches all layers and frames; result[layer][frame] is each instance's query (G,)."""
    num_layers, num_frames = predictions.class_logits.shape[:2]
    device = predictions.class_logits.device
    matched: list[list[Tensor]] = []
    for layer in range(num_layers):
        points = random_points(num_frames, sampling.num_points, device, generator)
        point_logits = sample_at(predictions.mask_logits[layer].float(), points)
        class_logits = predictions.class_logits[layer].float()
        rows = []
        for frame, target in enumerate(targets):
            truth = target.masks.unsqueeze(0).float()
            point_targets = sample_at(truth, points[frame : frame + 1]).squeeze(0)
            pairs = (class_logits[frame], point_logits[frame], target.labels, point_targets)
            rows.append(hungarian_matching(matching_cost(*pairs, MatchingWeights())))
        matched.append(rows)
    return matched


def _class_loss(
    class_logits: Tensor,
    targets: list[FrameTargets],
    matched: list[Tensor],
    no_object_weight: float,
) -> Tensor:
    """Computes one layer's class loss from (F, Q, K + 1) logits and F (G,) matched queries."""
    *shape, num_labels = class_logits.shape
    wanted = torch.full(shape, num_labels - 1, device=class_logits.device)
    for frame, (target, queries) in enumerate(zip(targets, matched, strict=True)):
        found = queries != UNMATCHED
        wanted[frame, queries[found]] = target.labels[found]
    return query_class_loss(class_logits, wanted, no_object_weight)


def _mask_losses(
    logits: Tensor, masks: Tensor, sampling: PointSampling, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Computes summed BCE and dice losses of N matched masks at uncertain and random points."""
    count, device = len(logits), logits.device
    if count == 0:
        zero = logits.sum()  # attached to the graph, so every rank runs the same backward pass
        return zero, zero
    num_uncertain = int(sampling.importance * sampling.num_points)
    num_candidates = int(sampling.oversample * sampling.num_points)
    candidates = random_points(count, num_candidates, device, generator)
    extra = random_points(count, sampling.num_points - num_uncertain, device, generator)
    with torch.no_grad():
        points = uncertain_points(logits.float(), candidates, extra, num_uncertain)
        point_targets = sample_at(masks.unsqueeze(1).float(), points).squeeze(1)
    point_logits = sample_at(logits.unsqueeze(1), points).squeeze(1)
    bce, dice = mask_bce_loss(point_logits, point_targets), dice_loss(point_logits, point_targets)
    return bce.sum(), dice.sum()
