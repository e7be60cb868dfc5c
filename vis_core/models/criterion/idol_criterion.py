"""The IDOL criterion for single frames: transport matching for every layer, and losses.

The losses are the single-frame terms of IDOL Eq. 2. Masks are computed for matched queries only.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from vis_core.config.criterion import TransportConfig
from vis_core.geometry.boxes import mask_boxes, to_cxcywh
from vis_core.models.criterion.box import giou_box_loss, l1_box_loss
from vis_core.models.criterion.classification import focal_loss
from vis_core.models.criterion.mask import dice_loss, mask_focal_loss
from vis_core.models.criterion.transport_matching import (
    FrameGuess,
    FrameTruth,
    TransportMatching,
    transport_matching,
)
from vis_core.structures import FrameTargets

# Stride of mask logits in pixels of the padded input, in both directions.
MASK_STRIDE = 4

MaskLogitsOf = Callable[[int, int, Tensor], Tensor]


@dataclass(frozen=True)
class BoxPredictions:
    """The predictions for F frames after each decoder layer, without masks."""

    class_logits: Tensor  # (L, F, Q, K), independent classes; the last layer is the result
    boxes_cxcywh_norm: Tensor  # (L, F, Q, 4) normalised by the unpadded image size

    def guess(self, layer: int, frame: int) -> FrameGuess:
        """Returns a layer's detached predictions for a frame."""
        return FrameGuess(
            self.class_logits[layer, frame].detach().float().sigmoid(),
            self.boxes_cxcywh_norm[layer, frame].detach().float(),
        )


def detection_losses(
    predictions: BoxPredictions,
    mask_logits_of: MaskLogitsOf,
    targets: list[FrameTargets],
    sizes: Tensor,
    config: TransportConfig,
) -> tuple[dict[str, Tensor], list[list[TransportMatching]]]:
    """Computes the losses of every frame, summed over layers (deep supervision).

    Each layer's losses are divided by its number of matched queries in the batch. If none is
    matched, the class loss is divided by 1; the other losses are 0 and attached to the graph.

    Args:
        predictions: For F frames.
        mask_logits_of: Computes (N, h, w) mask logits from a layer, a frame and (N,) queries, where
            N may be 0.
        targets: F frames; masks with the padded input's size or smaller.
        sizes: (F, 2) height and width of each frame before padding.
        config: Settings for the matching and the focal losses.

    Returns:
        The unweighted losses ``class``, ``box``, ``giou``, ``mask`` and ``dice``, and the matchings
        as [layer][frame]; the last layer's ``best_query`` selects the contrastive anchors.
    """
    truths = [frame_truth(target, size) for target, size in zip(targets, sizes, strict=True)]
    losses, matchings = [], []
    for layer in range(len(predictions.class_logits)):
        matched = [
            transport_matching(predictions.guess(layer, frame), truth, config)
            for frame, truth in enumerate(truths)
        ]
        logits = [mask_logits_of(layer, frame, each.queries) for frame, each in enumerate(matched)]
        losses.append(
            _class_and_box_losses(predictions, layer, matched, truths, config)
            | _mask_losses(torch.cat(logits), matched, targets, config)
        )
        matchings.append(matched)
    summed = {name: torch.stack([loss[name] for loss in losses]).sum() for name in losses[0]}
    return summed, matchings


def frame_truth(target: FrameTargets, size: Tensor) -> FrameTruth:
    """Returns a frame's labels, and tight boxes normalised by its (2,) height and width."""
    scale = size.flip(0).repeat(2).to(target.masks.device)
    return FrameTruth(target.labels, to_cxcywh(mask_boxes(target.masks) / scale))


def _class_and_box_losses(
    predictions: BoxPredictions,
    layer: int,
    matched: list[TransportMatching],
    truths: list[FrameTruth],
    config: TransportConfig,
) -> dict[str, Tensor]:
    """Computes the class loss of all queries and the box losses of the matched ones."""
    pairs = list(zip(matched, truths, strict=True))
    query = torch.cat([matching.queries for matching in matched])
    counts = torch.tensor([len(matching.queries) for matching in matched])
    frame = torch.arange(len(matched)).repeat_interleave(counts).to(query.device)
    labels = torch.cat([truth.labels[matching.instances] for matching, truth in pairs])
    true_boxes = torch.cat([truth.boxes_cxcywh_norm[match.instances] for match, truth in pairs])
    class_logits = predictions.class_logits[layer].float()
    wanted = torch.zeros_like(class_logits)
    wanted[frame, query, labels] = 1
    boxes = predictions.boxes_cxcywh_norm[layer, frame, query].float()
    num_positives = max(1, len(query))
    focal = focal_loss(class_logits, wanted, config.focal_alpha, config.focal_gamma)
    return {
        "class": focal.sum() / num_positives,
        "box": l1_box_loss(boxes, true_boxes).sum() / num_positives,
        "giou": giou_box_loss(boxes, true_boxes).sum() / num_positives,
    }


def _mask_losses(
    logits: Tensor,
    matched: list[TransportMatching],
    targets: list[FrameTargets],
    config: TransportConfig,
) -> dict[str, Tensor]:
    """Compares (N, h, w) masks of matched queries with true masks sampled at stride 4."""
    masks = [
        sampled_masks(target.masks, *logits.shape[1:])[matching.instances]
        for matching, target in zip(matched, targets, strict=True)
    ]
    logits, truth = logits.float().flatten(1), torch.cat(masks).flatten(1)
    num_positives = max(1, len(logits))
    focal = mask_focal_loss(logits, truth, config.focal_alpha, config.focal_gamma)
    return {
        "mask": focal.sum() / num_positives,
        "dice": dice_loss(logits, truth).sum() / num_positives,
    }


def sampled_masks(masks: Tensor, height: int, width: int) -> Tensor:
    """Samples each cell's middle pixel in (G, H, W) masks and pads to (G, height, width)."""
    start = MASK_STRIDE // 2
    sampled = masks[:, start::MASK_STRIDE, start::MASK_STRIDE].float()
    return functional.pad(sampled, (0, width - sampled.shape[2], 0, height - sampled.shape[1]))
