"""What a segmentor with boxes says of a still image: detections as COCO's evaluation reads them.

No identities here: it scores a model between the stages of pretraining (released IDOL,
``coco_inference``).
"""

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from vis_core.config.section import Section
from vis_core.geometry.masks import InputSize, full_size_masks
from vis_core.models.segmentors.selection import box_nms


class DetectionConfig(Section):
    """Says which predictions of a still image are detections."""

    box_nms_iou: float = Field(
        0.7,
        gt=0,
        le=1,
        description="Box IoU above which the weaker one of a class goes (released).",
    )
    max_detections: int = Field(
        100, ge=1, description="Of an image, best score first (released; COCO's evaluator as well)."
    )


@dataclass(frozen=True)
class ImageDetections:
    """Is D detections of an image, best score first; a prediction may stand in it several times.

    Attributes:
        scores: (D,) in [0, 1].
        labels: (D,) int64.
        boxes: (D, 4) xyxy in pixels of the image, inside it.
        masks: (D, H, W) bool.
    """

    scores: Tensor
    labels: Tensor
    boxes: Tensor
    masks: Tensor


def best_classes(
    class_scores: Tensor, boxes: Tensor, config: DetectionConfig
) -> tuple[Tensor, Tensor]:
    """Names the best pairs of a prediction and a class after box NMS within each best class.

    Args:
        class_scores: (Q, K).
        boxes: (Q, 4) xyxy.
        config: IoU and number.

    Returns:
        (D,) predictions and (D,) classes, best score first.
    """
    best = class_scores.max(dim=1)
    order = best.values.argsort(descending=True, stable=True)
    order = order[box_nms(boxes[order], best.indices[order], config.box_nms_iou)]
    scores = class_scores[order].flatten()
    place = scores.topk(min(config.max_detections, len(scores))).indices
    num_classes = class_scores.shape[1]
    return order[place // num_classes], place % num_classes


def detect_instances(
    class_scores: Tensor,
    boxes: Tensor,
    mask_logits: Tensor,
    input_size: InputSize,
    image_size: tuple[int, int],
    config: DetectionConfig,
) -> ImageDetections:
    """Turns the predictions for one image into detections at its size.

    Args:
        class_scores: (Q, K) in [0, 1].
        boxes: (Q, 4) xyxy in pixels of the unpadded input.
        mask_logits: (Q, h, w) raw masks that cover the padded input.
        input_size: How the image was resized and padded.
        image_size: Height and width of the image.
        config: Which are kept.

    Returns:
        Detections whose box has an area inside the image.
    """
    queries, labels = best_classes(class_scores, boxes, config)
    height, width = image_size
    scale = boxes.new_tensor([width / input_size.resized_width, height / input_size.resized_height])
    limit = boxes.new_tensor([width, height]).repeat(2)
    placed = torch.minimum((boxes[queries] * scale.repeat(2)).clamp(min=0), limit)
    shown = (placed[:, 2:] > placed[:, :2]).all(dim=1)
    queries, labels, placed = queries[shown], labels[shown], placed[shown]
    # a prediction stands in the list with several classes, its mask is made once
    distinct, row = queries.unique(return_inverse=True)
    masks = full_size_masks(mask_logits[distinct], input_size, image_size, "nearest")
    return ImageDetections(class_scores[queries, labels], labels, placed, masks[row])
