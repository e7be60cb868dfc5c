"""The criterion of CondInst on frames: match every place, then compare (AdelaiDet).

Differs: the release divides by means over all GPUs; here each worker divides by its own counts.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from vis_core.config.criterion import LocationLossConfig, LocationMatchingConfig
from vis_core.geometry.boxes import mask_boxes
from vis_core.models.criterion.classification import focal_loss
from vis_core.models.criterion.condinst_matching import (
    LocationMatching,
    LocationPredictions,
    match_locations,
)
from vis_core.models.criterion.idol_criterion import sampled_masks
from vis_core.models.criterion.mask import squared_dice_loss
from vis_core.structures import FrameTargets

# Makes the (N, h, w) mask logits of (N,) places of a frame.
MasksOf = Callable[[int, Tensor], Tensor]

_FIRST_COUNT, _MOMENTUM = 100.0, 0.9  # of the moving count of positives (AdelaiDet)
_MIN_CENTERNESS = 1e-6
_IOU_SMOOTHING = 1.0  # square strides
_SEMANTIC_STRIDE = 8


class LocationCriterion(nn.Module):
    """Computes the losses of CondInst; STC 3.5 refers to them as a whole."""

    moving_count: Tensor

    def __init__(self, matching: LocationMatchingConfig, config: LocationLossConfig) -> None:
        super().__init__()
        self.matching, self.config = matching, config
        if config.class_normalizer == "moving":
            self.register_buffer("moving_count", torch.tensor(_FIRST_COUNT))

    def match(
        self, predictions: LocationPredictions, targets: list[FrameTargets]
    ) -> list[LocationMatching]:
        """Matches the places of F frames; masks are at the size of the padded input."""
        return [
            match_locations(
                predictions.places, mask_boxes(target.masks), self.matching, target.masks
            )
            for target in targets
        ]

    def forward(
        self,
        predictions: LocationPredictions,
        masks_of: MasksOf,
        targets: list[FrameTargets],
        matched: list[LocationMatching],
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        """Compares F frames: ``class``, ``box``, ``center`` and ``mask``, unweighted.

        Args:
            predictions: Of F frames.
            masks_of: Makes masks of a frame, maybe of no place.
            targets: F frames.
            matched: F matchings.
            generator: Of the draw of masks (CPU).
        """
        positives = [matching.positives for matching in matched]
        count = max(1, sum(map(len, positives)))
        losses = {"class": self._class_loss(predictions, targets, matched, positives, count)}
        losses |= self._box_losses(predictions, matched, positives, count)
        chosen = self._chosen(predictions, matched, positives, generator)
        return losses | {"mask": _mask_loss(masks_of, targets, matched, chosen)}

    def _class_loss(
        self,
        predictions: LocationPredictions,
        targets: list[FrameTargets],
        matched: list[LocationMatching],
        positives: list[Tensor],
        count: int,
    ) -> Tensor:
        wanted = torch.zeros_like(predictions.class_logits)
        for frame, (target, matching, own) in enumerate(
            zip(targets, matched, positives, strict=True)
        ):
            wanted[frame, own, target.labels[matching.instance[own]]] = 1
        config = self.config
        loss = focal_loss(
            predictions.class_logits, wanted, config.focal_alpha, config.focal_gamma
        ).sum()
        if config.class_normalizer == "places":
            return loss / predictions.center_logits.numel()
        if config.class_normalizer == "moving":
            self.moving_count.mul_(_MOMENTUM).add_(count, alpha=1 - _MOMENTUM)
            return loss / self.moving_count.clone()
        return loss / count

    def _box_losses(
        self,
        predictions: LocationPredictions,
        matched: list[LocationMatching],
        positives: list[Tensor],
        count: int,
    ) -> dict[str, Tensor]:
        found = torch.cat([predictions.distances[f, own] for f, own in enumerate(positives)])
        center = torch.cat([predictions.center_logits[f, own] for f, own in enumerate(positives)])
        pairs = zip(matched, positives, strict=True)
        wanted = torch.cat([matching.distances[own] for matching, own in pairs])
        iou, generalized = distance_ious(found, wanted)
        errors = {
            "giou": lambda: 1 - generalized,
            "iou": lambda: -iou.log(),
            "linear_iou": lambda: 1 - iou,
        }[self.config.box_loss]()
        if self.config.box_quality == "iou":
            quality = iou.detach()
            box = errors.sum() / count
        else:
            quality = centerness(wanted)
            box = (errors * quality).sum() / quality.sum().clamp(min=_MIN_CENTERNESS)
        right = functional.binary_cross_entropy_with_logits(center, quality, reduction="sum")
        return {"box": box, "center": right / count}

    def _chosen(
        self,
        predictions: LocationPredictions,
        matched: list[LocationMatching],
        positives: list[Tensor],
        generator: torch.Generator | None,
    ) -> list[Tensor]:
        """Says of each frame whose masks are compared."""
        if self.config.masks_per_image is not None:
            return [
                _best_of_each(predictions, frame, matching, self.config.masks_per_image)
                for frame, matching in enumerate(matched)
            ]
        counts = [len(own) for own in positives]
        limit = self.config.max_masks
        if limit is None or sum(counts) <= limit:
            return positives
        drawn = torch.zeros(sum(counts), dtype=torch.bool)
        drawn[torch.randperm(sum(counts), generator=generator)[:limit]] = True
        parts = drawn.to(positives[0].device).split(counts)
        return [own[part] for own, part in zip(positives, parts, strict=True)]


def centerness(distances: Tensor) -> Tensor:
    """Says how central places are in their boxes: 1 in the middle, 0 at a side (FCOS Eq. 3).

    Args:
        distances: (N, 4) to the left, top, right and bottom side.

    Returns:
        (N,) in [0, 1].
    """
    across, down = distances[:, [0, 2]], distances[:, [1, 3]]
    ratios = [sides.amin(dim=1) / sides.amax(dim=1) for sides in (across, down)]
    return (ratios[0] * ratios[1]).sqrt()


def distance_ious(found: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Compares two boxes around one place: their IoU and generalized IoU.

    Adds 1 square stride to overlap and union, as AdelaiDet.

    Args:
        found: (N, 4) distances to the four sides.
        wanted: (N, 4).

    Returns:
        (N,) and (N,).
    """
    overlap = _area(torch.minimum(found, wanted))
    union = _area(found) + _area(wanted) - overlap
    enclosure = _area(torch.maximum(found, wanted))
    iou = (overlap + _IOU_SMOOTHING) / (union + _IOU_SMOOTHING)
    return iou, iou - (enclosure - union) / enclosure


def semantic_loss(
    logits: Tensor, targets: list[FrameTargets], config: LocationLossConfig
) -> Tensor:
    """Compares the classes of pixels with those of the smallest instance there (CondInst).

    Args:
        logits: (F, K, h, w) at stride 8.
        targets: F frames; masks at the size of the padded input.
        config: Of the focal loss.

    Returns:
        Scalar, the sum divided by the pixels that have a class.
    """
    wanted = torch.zeros_like(logits)
    middle = slice(_SEMANTIC_STRIDE // 2, None, _SEMANTIC_STRIDE)
    for frame, target in enumerate(targets):
        areas = target.masks.flatten(1).sum(dim=1)
        # the largest first, so that smaller ones are painted over it; of equal ones the first wins
        for row in areas.flip(0).argsort(descending=True, stable=True):
            own = len(areas) - 1 - int(row)
            shown = target.masks[own, middle, middle]
            wanted[frame, :, shown] = 0
            wanted[frame, target.labels[own], shown] = 1
    loss = focal_loss(logits, wanted, config.focal_alpha, config.focal_gamma).sum()
    return loss / wanted.sum().clamp(min=1)


def _mask_loss(
    masks_of: MasksOf,
    targets: list[FrameTargets],
    matched: list[LocationMatching],
    chosen: list[Tensor],
) -> Tensor:
    """Averages the dice loss of the masks of chosen places; without one 0, part of the graph."""
    losses = []
    for frame, (target, matching, own) in enumerate(zip(targets, matched, chosen, strict=True)):
        logits = masks_of(frame, own)
        truth = sampled_masks(target.masks, *logits.shape[1:])[matching.instance[own]]
        losses.append(squared_dice_loss(logits.flatten(1), truth.flatten(1)))
    joined = torch.cat(losses)
    return joined.sum() / max(1, len(joined))


def _best_of_each(
    predictions: LocationPredictions, frame: int, matching: LocationMatching, limit: int
) -> Tensor:
    """Keeps the best places of every instance of a frame, as many of each."""
    chance = predictions.class_logits[frame].detach().sigmoid().amax(dim=1)
    chance = chance * predictions.center_logits[frame].detach().sigmoid()
    present = matching.instance[matching.positives].unique()
    share = max(1, limit // max(1, len(present)))
    kept = [matching.positives[:0]]
    for instance in present:
        own = (matching.instance == instance).nonzero().flatten()
        kept.append(own[chance[own].topk(min(share, len(own))).indices])
    return torch.cat(kept)


def _area(distances: Tensor) -> Tensor:
    """(N,) areas of boxes told by the distances (N, 4) to their sides."""
    return (distances[:, 0] + distances[:, 2]) * (distances[:, 1] + distances[:, 3])
