"""The CondInst criterion: matching of places with instances, and losses (AdelaiDet).

As in the release, divisors are means over workers; here, those of mask and pixel losses are, too.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from vis_core.config.criterion import LocationLossConfig, LocationMatchingConfig
from vis_core.geometry.boxes import mask_boxes
from vis_core.models.criterion.batch_share import batch_count, batch_share
from vis_core.models.criterion.classification import focal_loss
from vis_core.models.criterion.condinst_matching import (
    BACKGROUND,
    LocationMatching,
    LocationPredictions,
    Places,
    match_locations,
)
from vis_core.models.criterion.idol_criterion import sampled_masks
from vis_core.models.criterion.mask import squared_dice_loss
from vis_core.structures import FrameTargets

# Computes the (N, h, w) mask logits for (N,) places in a frame.
MasksOf = Callable[[int, Tensor], Tensor]

_FIRST_COUNT, _MOMENTUM = 100.0, 0.9  # moving mean of the number of positives
_MIN_CENTERNESS = 1e-6
_IOU_SMOOTHING = 1.0  # square strides
_SEMANTIC_STRIDE = 8


class LocationCriterion(nn.Module):
    """The CondInst losses, which STC 3.5 adopts unchanged."""

    moving_count: Tensor

    def __init__(self, matching: LocationMatchingConfig, config: LocationLossConfig) -> None:
        super().__init__()
        self.matching, self.config = matching, config
        if config.class_normalizer == "moving":
            self.register_buffer("moving_count", torch.tensor(_FIRST_COUNT))

    def match(
        self, predictions: LocationPredictions, targets: list[FrameTargets]
    ) -> list[LocationMatching]:
        """Matches places with instances in F frames; masks have the padded input's size."""
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
        """Computes the unweighted losses ``class``, ``box``, ``center`` and ``mask`` of F frames.

        A CPU generator draws the places whose masks are compared, if ``max_masks`` limits them.
        """
        positives = [matching.positives for matching in matched]
        like = predictions.class_logits
        count = batch_count(like.new_tensor(sum(map(len, positives))))
        losses = {"class": self._class_loss(predictions, targets, matched, positives, count)}
        losses |= self._box_losses(predictions, matched, positives, count)
        chosen = self._places_of_masks(predictions, matched, positives, generator)
        return losses | {"mask": _mask_loss(masks_of, targets, matched, chosen)}

    def _class_loss(
        self,
        predictions: LocationPredictions,
        targets: list[FrameTargets],
        matched: list[LocationMatching],
        positives: list[Tensor],
        count: Tensor,
    ) -> Tensor:
        logits, config = predictions.class_logits, self.config
        wanted = torch.zeros_like(logits)
        frames = zip(targets, matched, positives, strict=True)
        for frame, (target, matching, rows) in enumerate(frames):
            wanted[frame, rows, target.labels[matching.instance[rows]]] = 1
        learned = _learned_places(predictions.places, targets, matched)
        errors = focal_loss(logits, wanted, config.focal_alpha, config.focal_gamma)
        loss = (errors * learned[..., None]).sum()
        if config.class_normalizer == "places":
            places = predictions.center_logits.numel()
            return loss / places * batch_share(loss.new_tensor(places))
        if config.class_normalizer == "moving":
            self.moving_count.mul_(_MOMENTUM).add_(count * (1 - _MOMENTUM))
            return loss / self.moving_count.clone()
        return loss / count

    def _box_losses(
        self,
        predictions: LocationPredictions,
        matched: list[LocationMatching],
        positives: list[Tensor],
        count: Tensor,
    ) -> dict[str, Tensor]:
        pairs = list(enumerate(positives))
        predicted = torch.cat([predictions.distances[frame, rows] for frame, rows in pairs])
        center = torch.cat([predictions.center_logits[frame, rows] for frame, rows in pairs])
        wanted = torch.cat([matched[frame].distances[rows] for frame, rows in pairs])
        iou, generalized = distance_ious(predicted, wanted)
        if self.config.box_loss == "iou":
            errors = -iou.log()
        else:
            errors = 1 - (generalized if self.config.box_loss == "giou" else iou)
        if self.config.box_quality == "iou":
            quality = iou.detach()
            box = errors.sum() / count
        else:
            quality = centerness(wanted)
            total = quality.sum()
            box = (errors * quality).sum() / total.clamp(min=_MIN_CENTERNESS) * batch_share(total)
        center_loss = functional.binary_cross_entropy_with_logits(center, quality, reduction="sum")
        return {"box": box, "center": center_loss / count}

    def _places_of_masks(
        self,
        predictions: LocationPredictions,
        matched: list[LocationMatching],
        positives: list[Tensor],
        generator: torch.Generator | None,
    ) -> list[Tensor]:
        """Chooses the places in each frame whose masks are compared."""
        share, limit = self.config.masks_per_image, self.config.max_masks
        if share is not None:
            return [_best_of_each(predictions, *pair, share) for pair in enumerate(matched)]
        counts = [len(rows) for rows in positives]
        if limit is None or sum(counts) <= limit:
            return positives
        drawn = torch.zeros(sum(counts), dtype=torch.bool)
        drawn[torch.randperm(sum(counts), generator=generator)[:limit]] = True
        parts = drawn.to(positives[0].device).split(counts)
        return [rows[part] for rows, part in zip(positives, parts, strict=True)]


def centerness(distances: Tensor) -> Tensor:
    """Computes the (N,) centre-ness of places: 1 in the middle of a box, 0 at a side (FCOS Eq. 3).

    ``distances`` are (N, 4) to the left, top, right and bottom sides.
    """
    sides = distances[:, [0, 2]], distances[:, [1, 3]]
    across, down = (pair.amin(dim=1) / pair.amax(dim=1) for pair in sides)
    return (across * down).sqrt()


def distance_ious(found: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Computes (N,) IoU and generalized IoU of boxes, given (N, 4) distances from the same places.

    Adds an area of one stride squared to overlap and union, as in AdelaiDet.
    """
    overlap = _area(torch.minimum(found, wanted))
    union = _area(found) + _area(wanted) - overlap
    enclosure = _area(torch.maximum(found, wanted))
    iou = (overlap + _IOU_SMOOTHING) / (union + _IOU_SMOOTHING)
    return iou, iou - (enclosure - union) / enclosure


def semantic_loss(
    logits: Tensor, targets: list[FrameTargets], config: LocationLossConfig
) -> Tensor:
    """Computes the focal loss of pixel classes; the smallest instance at a pixel counts (CondInst).

    Returns the sum over (F, K, h, w) ``logits`` at stride 8, divided by the number of pixels with a
    class. The masks in the F ``targets`` have the padded input's size.
    """
    wanted, learned = torch.zeros_like(logits), torch.ones_like(logits[:, :1])
    middle = slice(_SEMANTIC_STRIDE // 2, None, _SEMANTIC_STRIDE)
    for frame, target in enumerate(targets):
        areas = target.masks.flatten(1).sum(dim=1)
        # from large to small, so that the smallest wins; among equal areas, the first wins
        for row in areas.flip(0).argsort(descending=True, stable=True):
            instance = len(areas) - 1 - int(row)
            inside = target.masks[instance, middle, middle]
            wanted[frame, :, inside] = 0
            wanted[frame, target.labels[instance], inside] = 1
        if target.ignored is not None:
            learned[frame, 0] = ~target.ignored[middle, middle] | wanted[frame].any(dim=0)
    errors = focal_loss(logits, wanted, config.focal_alpha, config.focal_gamma) * learned
    return errors.sum() / batch_count(wanted.sum())


def _learned_places(
    places: Places, targets: list[FrameTargets], matched: list[LocationMatching]
) -> Tensor:
    """Returns (F, L) bool, False for background places in an ignored region."""
    learned = torch.ones(len(targets), len(places.level), dtype=torch.bool).to(places.level.device)
    for frame, (target, matching) in enumerate(zip(targets, matched, strict=True)):
        if target.ignored is not None:
            height, width = target.ignored.shape
            x, y = places.points.long().T
            ignored = target.ignored[y.clamp(max=height - 1), x.clamp(max=width - 1)]
            learned[frame] = ~ignored | (matching.instance != BACKGROUND)
    return learned


def _mask_loss(
    masks_of: MasksOf,
    targets: list[FrameTargets],
    matched: list[LocationMatching],
    chosen: list[Tensor],
) -> Tensor:
    """Averages the dice loss over masks at chosen places; without any, returns an attached 0."""
    losses = []
    for frame, (target, matching, rows) in enumerate(zip(targets, matched, chosen, strict=True)):
        logits = masks_of(frame, rows)
        truth = sampled_masks(target.masks, *logits.shape[1:])[matching.instance[rows]]
        losses.append(squared_dice_loss(logits.flatten(1), truth.flatten(1)))
    joined = torch.cat(losses)
    return joined.sum() / batch_count(joined.new_tensor(len(joined)))


def _best_of_each(
    predictions: LocationPredictions, frame: int, matching: LocationMatching, limit: int
) -> Tensor:
    """Selects up to ``limit`` of a frame's best places, with an equal share for each instance."""
    score = predictions.class_logits[frame].detach().sigmoid().amax(dim=1)
    score = score * predictions.center_logits[frame].detach().sigmoid()
    present = matching.instance[matching.positives].unique()
    share = max(1, limit // max(1, len(present)))
    kept = [matching.positives[:0]]
    for instance in present:
        rows = (matching.instance == instance).nonzero().flatten()
        kept.append(rows[score[rows].topk(min(share, len(rows))).indices])
    return torch.cat(kept)


def _area(distances: Tensor) -> Tensor:
    return (distances[:, 0] + distances[:, 2]) * (distances[:, 1] + distances[:, 3])
