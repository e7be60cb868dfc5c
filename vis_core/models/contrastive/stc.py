"""What STC compares between the two frames of a pair: embeddings (3.3) and kernels (3.4)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from vis_core.config.contrastive import StcTrackingConfig
from vis_core.geometry.boxes import mask_boxes
from vis_core.models.criterion.condinst_matching import (
    BACKGROUND,
    LocationMatching,
    LocationPredictions,
    in_box_instances,
)
from vis_core.models.criterion.contrastive import per_positive_loss
from vis_core.models.layers.dynamic_mask_head import pixel_centers
from vis_core.structures import FrameTargets

_STRIDE = 8  # of the map of embeddings


@dataclass(frozen=True)
class TrackingFrame:
    """Is one frame of a pair.

    Attributes:
        embeddings: (C, h, w) at stride 8.
        boxes: (N, 4) xyxy predicted at the places that belong to an instance, without gradient.
        identity: (N,) int64, the row in its clip of the instance of each place.
        truth: What the frame shows.
    """

    embeddings: Tensor
    boxes: Tensor
    identity: Tensor
    truth: FrameTargets

    @classmethod
    def of(
        cls,
        predictions: LocationPredictions,
        frame: int,
        embeddings: Tensor,
        matching: LocationMatching,
        truth: FrameTargets,
    ) -> "TrackingFrame":
        """Takes frame number ``frame`` of F with its matching; every positive place is a query."""
        positives = matching.positives
        boxes = predictions.boxes(frame, positives).detach()
        return cls(embeddings, boxes, truth.instance_index[matching.instance[positives]], truth)


def embeddings_at(embeddings: Tensor, boxes: Tensor) -> Tensor:
    """Reads the (N, C) embeddings of a map (C, h, w) at the centres of boxes (N, 4): STC 3.3."""
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
    """Compares the queries of B frames with B reference frames: STC Eq. 4.

    Returns:
        Scalar, the mean over all queries that have something to compare with; 0 if none has.
    """
    losses = []
    for frame, reference in zip(frames, references, strict=True):
        queries = embeddings_at(frame.embeddings, frame.boxes)
        if config.loss == "contrastive":
            losses.append(_contrastive(queries, frame.identity, reference, config, generator))
        else:
            losses.append(_classified(queries, frame.identity, reference))
    joined = torch.cat(losses)
    return joined.sum() / max(1, len(joined))


def consistency_loss(kernels: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Averages the squared distance of the kernels of each instance in two frames: STC Eq. 6.

    The mean over the numbers of a kernel, since a sum would outweigh all else with the weight 10.

    Args:
        kernels: (N, P) of both frames, row by row of one instance.
    """
    errors = torch.cat([(one - other).square() for one, other in kernels])
    return errors.sum() / max(1, errors.numel())


def paired_places(
    matchings: tuple[LocationMatching, LocationMatching],
    truths: tuple[FrameTargets, FrameTargets],
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Draws for every instance with places in both frames one place of each frame.

    Returns:
        (N,) int64 places of the one and of the other frame.
    """
    chosen: tuple[list[Tensor], list[Tensor]] = ([], [])
    shown = [set(truth.instance_index.tolist()) for truth in truths]
    for identity in sorted(shown[0] & shown[1]):
        places = [
            (matching.instance == int((truth.instance_index == identity).nonzero()))
            .nonzero()
            .flatten()
            for matching, truth in zip(matchings, truths, strict=True)
        ]
        if all(len(own) for own in places):
            for own, kept in zip(places, chosen, strict=True):
                kept.append(own[int(torch.randint(len(own), (1,), generator=generator))])
    nothing = matchings[0].instance[:0]
    one, other = (torch.stack(kept) if kept else nothing for kept in chosen)
    return one, other


def _contrastive(
    queries: Tensor,
    identity: Tensor,
    reference: TrackingFrame,
    config: StcTrackingConfig,
    generator: torch.Generator | None,
) -> Tensor:
    """STC Eq. 3 of (N, C) queries: one loss for each that is shown in the reference frame."""
    keys = reference.embeddings.flatten(1).T
    owner = _owners(reference)
    is_positive = identity[:, None] == owner
    is_negative = ~is_positive
    if config.negatives_in_boxes:
        is_negative &= owner != BACKGROUND
    positives = _drawn(is_positive, config.max_positives, generator)
    negatives = _drawn(is_negative, config.num_negatives, generator)
    losses = per_positive_loss(
        queries @ keys.T, positives, negatives, mean=config.over_positives == "mean"
    )
    return losses[is_positive.any(dim=1)]


def _classified(queries: Tensor, identity: Tensor, reference: TrackingFrame) -> Tensor:
    """Cross entropy of (N, C) queries over the reference instances and none (MaskTrack R-CNN)."""
    instances = embeddings_at(reference.embeddings, mask_boxes(reference.truth.masks))
    products = queries @ instances.T
    logits = torch.cat([products.new_zeros(len(products), 1), products], dim=1)
    same = identity[:, None] == reference.truth.instance_index
    wanted = (same * torch.arange(1, same.shape[1] + 1, device=same.device)).sum(dim=1)
    return functional.cross_entropy(logits, wanted, reduction="none")


def _owners(frame: TrackingFrame) -> Tensor:
    """(h * w,) identity of the instance whose box each place of the map lies in."""
    height, width = frame.embeddings.shape[1:]
    points = pixel_centers(height, width, _STRIDE, frame.embeddings).T
    rows = in_box_instances(points, mask_boxes(frame.truth.masks))
    identities = torch.cat([frame.truth.instance_index, rows.new_tensor([BACKGROUND])])
    return identities[rows]


def _drawn(allowed: Tensor, limit: int | None, generator: torch.Generator | None) -> Tensor:
    """(N, P) bool with at most ``limit`` of the allowed ones in each row."""
    if limit is None or limit >= allowed.shape[1]:
        return allowed
    draws = torch.rand(allowed.shape, generator=generator).to(allowed.device) + ~allowed
    chosen = torch.zeros_like(allowed)
    chosen.scatter_(1, draws.topk(limit, dim=1, largest=False).indices, True)
    return chosen & allowed
