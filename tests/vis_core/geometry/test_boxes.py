"""Boxes: forms, generalized IoU against the loop, tight boxes of masks."""

import pytest
import torch

from vis_core.geometry.boxes import generalized_iou, mask_boxes, to_cxcywh, to_xyxy


def drawn(count: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return to_xyxy(torch.rand(count, 4, generator=draw))


def test_the_two_forms_of_a_box_turn_into_each_other() -> None:
    assert to_xyxy(torch.tensor([[4.0, 3.0, 2.0, 6.0]])).tolist() == [[3, 0, 5, 6]]
    boxes = drawn(6, 0)
    torch.testing.assert_close(to_xyxy(to_cxcywh(boxes)), boxes)
    assert to_xyxy(boxes[:0]).shape == (0, 4)


def test_boxes_far_apart_have_a_negative_generalized_iou() -> None:
    first = torch.tensor([0.0, 0, 1, 1])
    # two unit squares in an enclosure of 4: IoU 0, half of it is empty
    assert generalized_iou(first, torch.tensor([3.0, 0, 4, 1])).item() == pytest.approx(-0.5)
    assert generalized_iou(first, first).item() == pytest.approx(1)


def test_generalized_iou_equals_the_loop() -> None:
    first, second = drawn(5, 1), drawn(4, 2)
    found = generalized_iou(first[:, None], second[None])
    for row, a in enumerate(first.tolist()):
        for column, b in enumerate(second.tolist()):
            width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
            height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
            areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
            union = sum(areas) - width * height
            around = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
            expected = width * height / union - (around - union) / (around + 1e-7)
            assert found[row, column].item() == pytest.approx(expected, abs=1e-5)
    assert generalized_iou(first[:0, None], second[None]).shape == (0, 4)
    assert generalized_iou(first[:, None], second[None, :0]).shape == (5, 0)


def test_boxes_without_an_area_have_a_finite_generalized_iou_and_gradient() -> None:
    point = torch.zeros(1, 4, requires_grad=True)
    value = generalized_iou(point, torch.zeros(1, 4), union_smoothing=1e-7)
    value.sum().backward()
    assert value.item() == 0
    assert point.grad is not None
    assert point.grad.isfinite().all()


def test_the_box_of_a_mask_is_tight_and_its_far_sides_are_exclusive() -> None:
    masks = torch.zeros(3, 6, 8, dtype=torch.bool)
    masks[0, 2:4, 3:7] = True
    masks[1, 5, 0] = True
    assert mask_boxes(masks).tolist() == [[3, 2, 7, 4], [0, 5, 1, 6], [0, 0, 0, 0]]
    assert mask_boxes(masks[:0]).shape == (0, 4)
