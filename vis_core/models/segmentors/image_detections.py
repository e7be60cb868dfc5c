"""Detections of still images as COCO's evaluation ranks them: pairs of a prediction and a class.

Three releases define them: IDOL's ``coco_inference`` and CondInst, whose segmentors predict boxes,
and Mask2Former's ``instance_inference``, whose segmentor does not.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vis_core.geometry.boxes import clipped, mask_boxes
from vis_core.geometry.masks import MASKS_AT_ONCE, InputSize, Resize, masks_with_confidence
from vis_core.models.segmentors.selection import box_nms
from vis_core.rle.segmentation import Rle, encode_masks
from vis_core.structures import Instances

BOX_NMS_IOU = 0.7  # above it the weaker box of a class goes (released IDOL)
MAX_DETECTIONS = 100  # of an image (released IDOL and Mask2Former; COCO's evaluator as well)


@dataclass(frozen=True)
class ImageDetections:
    """The D detections of an image, best score first; a prediction may occur with several classes.

    Attributes:
        scores: (D,) in [0, 1].
        labels: (D,) int64.
        boxes: (D, 4) xyxy in pixels of the image, inside it.
        segmentations: D compressed RLEs of the size of the image.
    """

    scores: Tensor
    labels: Tensor
    boxes: Tensor
    segmentations: list[Rle]


def best_classes(
    class_scores: Tensor,
    boxes: Tensor | None,
    box_nms_iou: float = BOX_NMS_IOU,
    max_detections: int = MAX_DETECTIONS,
) -> tuple[Tensor, Tensor]:
    """Finds the best pairs of a prediction and a class, after box NMS within each best class.

    Returns (D,) predictions and (D,) classes, best score first, for (Q, K) scores and (Q, 4) xyxy
    boxes; None skips NMS.
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
    """Turns the predictions for one image into detections at its size.

    Without predicted boxes, the tight box of each mask is taken, and the mean probability of the
    pixels of a mask multiplies its score (Mask2Former). A few masks are in memory at a time.
    Detections without a score or whose box has no area inside the image are left out.

    Args:
        predictions: All Q of an image, none left out by a threshold.
        input_size: How the image was resized and padded.
        image_size: Height and width.
        last_resize: How masks reach the size of the image; released IDOL takes the nearest pixel.
    """
    class_scores = predictions.class_scores
    if predictions.qualities is not None:
        class_scores = class_scores * predictions.qualities[:, None]
    queries, labels = best_classes(class_scores, predictions.boxes)
    scores = class_scores[queries, labels]
    queries, labels, scores = (part[scores > 0] for part in (queries, labels, scores))
    # a prediction may occur with several classes; its mask is made once
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
    """Scales (D, 4) xyxy boxes of the unpadded input to the image and clips them."""
    height, width = image_size
    scale = boxes.new_tensor([width / input_size.resized_width, height / input_size.resized_height])
    return clipped(boxes * scale.repeat(2), height, width)
