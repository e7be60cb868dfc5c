"""Detections of still images: those of the COCO evaluation in the release (reference idol/, 7)."""

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from tests.conftest import reference_cases
from tests.helpers.closeness import assert_near
from vis_core.geometry.boxes import box_iou, mask_boxes
from vis_core.geometry.masks import InputSize
from vis_core.models.segmentors.image_detections import (
    ImageDetections,
    best_classes,
    detect_instances,
)
from vis_core.rle.segmentation import decode_rles
from vis_core.structures import Instances

MASK_STRIDE = 4
SIZE = InputSize(16, 24, 32, 32)


def predictions(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draws class scores, boxes within 16 x 24 pixels and mask logits at random."""
    draw = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=draw) * torch.tensor([12.0, 8.0])
    boxes = torch.cat([corner, corner + 4 + 4 * torch.rand(count, 2, generator=draw)], dim=1)
    scores = torch.rand(count, 3, generator=draw)
    return scores, boxes, torch.randn(count, 8, 8, generator=draw)


def detect(
    scores: Tensor, boxes: Tensor | None, masks: Tensor, size: InputSize, image: tuple[int, int]
) -> ImageDetections:
    """Returns the detections of an image, resized as in the IDOL release."""
    nothing = torch.zeros(len(scores), 1)
    best = scores.amax(dim=1)
    return detect_instances(Instances(best, scores, masks, nothing, boxes), size, image, "nearest")


@pytest.mark.parametrize("seed", range(20))
def test_best_classes_equal_the_loop(seed: int) -> None:
    scores, boxes, _ = predictions(30, seed)
    iou = box_iou(boxes, boxes)
    kept: list[int] = []
    for query in scores.amax(dim=1).argsort(descending=True).tolist():
        rivals = [k for k in kept if scores[k].argmax() == scores[query].argmax()]
        if all(iou[query, k] <= 0.4 for k in rivals):
            kept.append(query)
    pairs = sorted(((float(scores[q, c]), q, c) for q in kept for c in range(3)), reverse=True)
    queries, labels = best_classes(scores, boxes, 0.4, 15)
    found = list(zip(queries.tolist(), labels.tolist(), strict=True))
    assert found == [(q, c) for _, q, c in pairs[:15]]
    assert len(kept) < 30


def test_an_order_of_predictions_changes_no_detection() -> None:
    scores, boxes, masks = predictions(12, 1)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    one = detect(scores, boxes, masks, SIZE, (32, 48))
    other = detect(scores[order], boxes[order], masks[order], SIZE, (32, 48))
    assert torch.equal(one.scores, other.scores) and torch.equal(one.labels, other.labels)
    assert torch.equal(one.boxes, other.boxes) and one.segmentations == other.segmentations


def test_no_predictions_give_no_detections() -> None:
    scores, boxes, masks = predictions(0, 0)
    found = detect(scores, boxes, masks, SIZE, (32, 48))
    assert found.segmentations == [] and found.boxes.shape == (0, 4) and len(found.scores) == 0


def test_a_box_outside_the_image_is_no_detection() -> None:
    scores, boxes, masks = predictions(3, 0)
    boxes[1] += 100
    found = detect(scores, boxes, masks, SIZE, (32, 48))
    assert len(found.scores) == 6
    assert (found.boxes[:, 2:] <= torch.tensor([48, 32])).all() and (found.boxes >= 0).all()


def test_without_boxes_they_are_those_of_mask2former() -> None:
    """Follows the loop of Mask2Former's ``instance_inference``, on masks at input size."""
    scores, _, logits = predictions(9, 5)
    size = InputSize(30, 22, 32, 32)
    found = detect(scores, None, logits, size, (30, 22))
    large = functional.interpolate(logits[None], (32, 32), mode="bilinear")[0, :, :30, :22]
    wanted = []
    for place in scores.flatten().topk(27).indices.tolist():
        values = large[place // 3]
        inside = values > 0
        certainty = (values.sigmoid() * inside).sum() / (inside.sum() + 1e-6)
        rows, columns = inside.nonzero(as_tuple=True)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        score = float(scores.flatten()[place] * certainty)
        wanted.append((score, place % 3, [float(side) for side in box]))
    wanted.sort(reverse=True)
    np.testing.assert_allclose(found.scores, [score for score, _, _ in wanted], atol=1e-6)
    assert found.labels.tolist() == [label for _, label, _ in wanted]
    assert found.boxes.tolist() == [box for _, _, box in wanted]
    masks = torch.from_numpy(decode_rles(found.segmentations, 30, 22))
    assert torch.equal(mask_boxes(masks), found.boxes)


@pytest.mark.parity
@pytest.mark.parametrize(
    "path", reference_cases("idol/coco_inference*.npz"), ids=lambda path: path.stem
)
def test_detections_are_those_of_the_release(path) -> None:
    with np.load(path) as file:
        values = dict(file)
    for b, image_size in enumerate(values["image_sizes"].tolist()):
        scale = torch.tensor(image_size[::-1] * 2)
        cx, cy, w, h = torch.from_numpy(values["pred_boxes"][b]).unbind(dim=1)
        boxes = torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], dim=1) * scale
        scores = torch.from_numpy(values["pred_logits"][b]).sigmoid()
        masks = torch.from_numpy(values["pred_masks"][b])
        padded = (MASK_STRIDE * masks.shape[1], MASK_STRIDE * masks.shape[2])
        queries, labels = best_classes(scores, boxes)
        assert labels.tolist() == values[f"b{b}_labels"].tolist()
        assert_near(scores[queries, labels], values[f"b{b}_scores"])
        resized = values[f"b{b}_boxes_resized_xyxy"]
        assert_near(boxes[queries], resized)
        output = tuple(values["output_sizes"][b].tolist())
        found = detect(scores, boxes, masks, InputSize(*image_size, *padded), output)
        assert found.labels.tolist() == values[f"b{b}_out_labels"].tolist()
        assert_near(found.scores, values[f"b{b}_out_scores"])
        assert_near(found.boxes, values[f"b{b}_out_boxes_xyxy"])
        shape = values[f"b{b}_out_masks_shape"]
        bits = np.unpackbits(values[f"b{b}_out_masks"], count=int(np.prod(shape)))
        wanted = bits.reshape(shape).astype(bool)
        assert np.array_equal(decode_rles(found.segmentations, *output), wanted)
