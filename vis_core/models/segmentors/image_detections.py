"""Detections in still images for COCO's evaluation: ranked pairs of a prediction and a class.

The ranking follows three releases: IDOL's ``coco_inference`` and CondInst, whose segmentors predict
boxes, and Mask2Former's ``instance_inference``, whose segmentor predicts none.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vis_core.geometry.boxes import clipped, mask_boxes
from vis_core.geometry.masks import MASKS_AT_ONCE, InputSize, Resize, masks_with_confidence
from vis_core.models.segmentors.selection import box_nms
from vis_core.rle.segmentation import Rle, encode_masks
from vis_core.structures import Instances

BOX_NMS_IOU = 0.7  # of two boxes of a class above this IoU, the weaker is removed (IDOL)
MAX_DETECTIONS = 100  # per image (IDOL and Mask2Former releases; COCO's evaluator)


@dataclass(frozen=True)
class ImageDetections:
    """The D detections in an image, best score first; a prediction may have several classes."""

    scores: Tensor  # (D,) in [0, 1]
    labels: Tensor  # (D,) int64
    boxes: Tensor  # (D, 4) xyxy in image pixels, inside the image
    segmentations: list[Rle]  # D compressed RLEs at image size


def best_classes(
    class_scores: Tensor,
    boxes: Tensor | None,
    box_nms_iou: float = BOX_NMS_IOU,
    max_detections: int = MAX_DETECTIONS,
) -> tuple[Tensor, Tensor]:
    """Finds the best (prediction, class) pairs, after NMS among boxes with the same best class.

    Returns (D,) predictions and (D,) classes, best score first, given (Q, K) scores and (Q, 4) xyxy
    boxes. If the boxes are None, skips NMS.
    """
    best = class_scores.max(dim=1)
    order = best.values.argsort(descending=True, stable=True)
    if boxes is not None:
        order = order[box_nms(boxes[order], best.indices[order], box_nms_iou)]
    scores = class_scores[order].flatten()
    place = scores.topk(min(max_detections, len(scores))).indices
    num_classes = class_scores.shape[1]
    return order[place // num_classes], place % num_classes


def detect_instances(
    predictions: Instances,
    input_size: InputSize,
    image_size: tuple[int, int],
    last_resize: Resize = "bilinear",
) -> ImageDetections:
    """Turns the predictions for one image into detections at image size.

    Without predicted boxes, uses the tight box of each mask and multiplies each score by the mean
    probability of the mask's pixels (Mask2Former). Only a few masks are in memory at a time.
    Detections with a score of 0 or no box area inside the image are omitted.

    Args:
        predictions: All Q predictions for the image, not thresholded.
        input_size: How the image was resized and padded.
        image_size: Height and width.
        last_resize: How masks are resized to the image; the IDOL release takes the nearest pixel.
    """
    class_scores = predictions.class_scores
    if predictions.qualities is not None:
        class_scores = class_scores * predictions.qualities[:, None]
    queries, labels = best_classes(class_scores, predictions.boxes)
    scores = class_scores[queries, labels]
    queries, labels, scores = (part[scores > 0] for part in (queries, labels, scores))
    # a prediction may have several classes; its mask is computed once
    distinct, row = queries.unique(return_inverse=True)
    rles, tight, certainty = [], [], []
    for logits in predictions.mask_logits[distinct].split(MASKS_AT_ONCE):
        masks, sums = masks_with_confidence(logits, input_size, image_size, last_resize)
        rles += encode_masks(masks.cpu().numpy())
        tight.append(mask_boxes(masks))
        certainty.append(sums / masks.flatten(1).sum(dim=1).clamp(min=1))
    if predictions.boxes is None:
        scores, boxes = scores * torch.cat(certainty)[row], torch.cat(tight)[row]
    else:
        boxes = _in_image(predictions.boxes[queries], input_size, image_size)
    shown = (boxes[:, 2:] > boxes[:, :2]).all(dim=1).nonzero().flatten()
    order = shown[scores[shown].argsort(descending=True, stable=True)]
    segmentations = [rles[index] for index in row[order].tolist()]
    return ImageDetections(scores[order], labels[order], boxes[order], segmentations)


def _in_image(boxes: Tensor, input_size: InputSize, image_size: tuple[int, int]) -> Tensor:
    """Scales (D, 4) xyxy boxes from the unpadded input to the image and clips them."""
    height, width = image_size
    scale = boxes.new_tensor([width / input_size.resized_width, height / input_size.resized_height])
    return clipped(boxes * scale.repeat(2), height, width)
