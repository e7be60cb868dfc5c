"""STC's comparison of two frames: of their embeddings (3.3) and of their kernels (3.4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from vis_core.config.contrastive import StcTrackingConfig
from vis_core.geometry.boxes import mask_boxes
from vis_core.models.criterion.batch_share import batch_count
from vis_core.models.criterion.condinst_matching import (
    BACKGROUND,
    LocationMatching,
    LocationPredictions,
    in_box_instances,
)
from vis_core.models.criterion.contrastive import per_positive_loss
from vis_core.models.layers.dynamic_mask_head import pixel_centers
from vis_core.structures import FrameTargets

_STRIDE = 8  # stride of the embedding map


@dataclass(frozen=True)
class TrackingFrame:
    """One frame of a pair."""

    embeddings: Tensor  # (C, h, w) at stride 8
    boxes: Tensor  # (N, 4) xyxy predicted at places with an instance, detached
    identity: Tensor  # (N,) int64 clip row of the instance at each place
    truth: FrameTargets  # ground truth of the frame

    @classmethod
    def of(
        cls,
        predictions: LocationPredictions,
        frame: int,
        embeddings: Tensor,
        matching: LocationMatching,
        truth: FrameTargets,
    ) -> "TrackingFrame":
        """Builds frame ``frame`` from its predictions; every positive place is a query."""
        positives = matching.positives
        boxes = predictions.boxes(frame, positives).detach()
        return cls(embeddings, boxes, truth.instance_index[matching.instance[positives]], truth)


def embeddings_at(embeddings: Tensor, boxes: Tensor) -> Tensor:
    """Reads (N, C) embeddings from a map (C, h, w) at the centres of boxes (N, 4): STC 3.3."""
    height, width = embeddings.shape[1:]
    centers = (boxes[:, :2] + boxes[:, 2:]) / (2 * _STRIDE)
    column = centers[:, 0].floor().long().clamp(0, width - 1)
    row = centers[:, 1].floor().long().clamp(0, height - 1)
    return embeddings[:, row, column].T


def tracking_losses(
    frames: list[TrackingFrame],
    references: list[TrackingFrame],
    config: StcTrackingConfig,
    generator: torch.Generator | None,
) -> Tensor:
    """Computes the loss of B frames' queries against B reference frames: STC Eq. 4.

    Returns the mean over all queries that have a comparison, or 0 if there are none.
    """
    losses = []
    for frame, reference in zip(frames, references, strict=True):
        compared = embeddings_at(frame.embeddings, frame.boxes), frame.identity, reference
        if config.loss == "contrastive":
            losses.append(_contrastive_losses(*compared, config, generator))
        else:
            losses.append(_classification_losses(*compared))
    joined = torch.cat(losses)
    return joined.sum() / batch_count(joined.new_tensor(len(joined)))


def consistency_loss(kernels: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Averages the squared distance between each instance's kernels in two frames: STC Eq. 6.

    The mean is also over the P parameters: their sum, with weight 10, would dominate the loss.
    Matching rows of the two frames' (N, P) kernels belong to one instance.
    """
    errors = torch.cat([(one - other).square() for one, other in kernels])
    return errors.sum() / batch_count(errors.new_tensor(errors.numel()))


def paired_places(
    matchings: Sequence[LocationMatching],
    truths: Sequence[FrameTargets],
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Draws one place in each of two frames for every instance with places in both.

    Returns (N,) int64 places in the first frame and in the second.
    """
    chosen: tuple[list[Tensor], list[Tensor]] = ([], [])
    first, second = (set(truth.instance_index.tolist()) for truth in truths)
    for identity in sorted(first & second):
        rows = [int((truth.instance_index == identity).nonzero()) for truth in truths]
        places = [
            (matching.instance == row).nonzero().flatten()
            for matching, row in zip(matchings, rows, strict=True)
        ]
        if all(map(len, places)):
            for candidates, kept in zip(places, chosen, strict=True):
                draw = int(torch.randint(len(candidates), (1,), generator=generator))
                kept.append(candidates[draw])
    empty = matchings[0].instance[:0]
    one, other = (torch.stack(kept) if kept else empty for kept in chosen)
    return one, other


def _contrastive_losses(
    queries: Tensor,
    identity: Tensor,
    reference: TrackingFrame,
    config: StcTrackingConfig,
    generator: torch.Generator | None,
) -> Tensor:
    """Computes STC Eq. 3 for each of (N, C) queries that has a positive in the reference frame."""
    keys = reference.embeddings.flatten(1).T
    owner = _owners(reference)
    is_positive = identity[:, None] == owner
    is_negative = ~is_positive
    if config.negatives_in_boxes:
        is_negative &= owner != BACKGROUND
    positives = _sample(is_positive, config.max_positives, generator)
    negatives = _sample(is_negative, config.num_negatives, generator)
    mean = config.over_positives == "mean"
    losses = per_positive_loss(queries @ keys.T, positives, negatives, mean=mean)
    return losses[is_positive.any(dim=1)]


def _classification_losses(queries: Tensor, identity: Tensor, reference: TrackingFrame) -> Tensor:
    """Computes the cross entropy of (N, C) queries over reference instances (MaskTrack R-CNN)."""
    instances = embeddings_at(reference.embeddings, mask_boxes(reference.truth.masks))
    products = queries @ instances.T
    logits = torch.cat([products.new_zeros(len(products), 1), products], dim=1)
    same = identity[:, None] == reference.truth.instance_index
    wanted = (same * torch.arange(1, same.shape[1] + 1, device=same.device)).sum(dim=1)
    return functional.cross_entropy(logits, wanted, reduction="none")


def _owners(frame: TrackingFrame) -> Tensor:
    """Returns, for each of h * w places in the map, the identity of the instance around it."""
    height, width = frame.embeddings.shape[1:]
    points = pixel_centers(height, width, _STRIDE, frame.embeddings).T
    rows = in_box_instances(points, mask_boxes(frame.truth.masks))
    identities = torch.cat([frame.truth.instance_index, rows.new_tensor([BACKGROUND])])
    return identities[rows]


def _sample(allowed: Tensor, limit: int | None, generator: torch.Generator | None) -> Tensor:
    """Draws at most ``limit`` of the allowed (N, P) entries in each row; returns bool."""
    if limit is None or limit >= allowed.shape[1]:
        return allowed
    draws = torch.rand(allowed.shape, generator=generator).to(allowed.device) + ~allowed
    chosen = torch.zeros_like(allowed)
    chosen.scatter_(1, draws.topk(limit, dim=1, largest=False).indices, True)
    return chosen & allowed
