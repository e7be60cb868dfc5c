"""Assignment in rounds over all instances decides exactly as the papers' loop does."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vis_core.association.assignment import greedy, hungarian
from vis_core.config.segmentors import SelectionConfig
from vis_core.geometry.boxes import box_iou
from vis_core.geometry.masks import pairwise_mask_iou
from vis_core.models.segmentors.selection import (
    select_by_score_and_box,
    select_instances,
)
from vis_core.structures import Instances


def greedy_loop(scores: Tensor, floor: float) -> list[int]:
    """Follows CTVIS Eq. 4 word for word; -1 where an instance has no track."""
    free = torch.ones(scores.shape[1], dtype=torch.bool)
    taken = []
    for row in scores:
        best = row.masked_fill(~free, float("-inf")).argmax() if free.any() else None
        if best is None or not row[best] > floor:
            taken.append(-1)
        else:
            free[best] = False
            taken.append(int(best))
    return taken


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 14), st.integers(0, 14), st.integers(0, 10_000), st.floats(0, 1))
def test_greedy_equals_the_loop(count: int, tracks: int, seed: int, floor: float) -> None:
    scores = torch.rand(count, tracks, generator=torch.Generator().manual_seed(seed))
    claim = greedy(scores, torch.full((count,), floor))
    found = [int(row) if won else -1 for row, won in zip(claim.row, claim.matched, strict=True)]
    assert found == greedy_loop(scores, floor)


def test_greedy_when_all_want_the_same_tracks() -> None:
    scores = torch.linspace(1, 2, 30).expand(30, 30)
    claim = greedy(scores, torch.zeros(30))
    assert claim.row.tolist() == list(range(29, -1, -1))
    assert claim.matched.all()


def test_hungarian_makes_the_sum_largest() -> None:
    scores = torch.tensor([[0.9, 0.8], [0.8, 0.1]])
    assert hungarian(scores, torch.full((2,), float("-inf"))).row.tolist() == [1, 0]
    assert greedy(scores, torch.zeros(2)).row.tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(30))
def test_selection_equals_the_loop(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(40, 1, 3, 4, generator=generator)
    masks = torch.nn.functional.interpolate(coarse, size=(12, 16))[:, 0]
    scores = torch.rand(40, generator=generator)
    everything = Instances(scores, scores[:, None], masks, torch.arange(40.0)[:, None])
    found = select_instances(everything, SelectionConfig(score_threshold=0.2, nms_iou=0.4))
    iou = pairwise_mask_iou(masks > 0)
    kept: list[int] = []
    for index in scores.argsort(descending=True).tolist():
        if scores[index] > 0.2 and all(iou[index, other] <= 0.4 for other in kept):
            kept.append(index)
    assert found.embeddings[:, 0].int().tolist() == kept
    assert 0 < len(kept) < int((scores > 0.2).sum())


def random_boxes(count: int, generator: torch.Generator) -> Tensor:
    """Returns xyxy boxes with much overlap."""
    corner = 20 * torch.rand(count, 2, generator=generator)
    return torch.cat([corner, corner + 20 + 20 * torch.rand(count, 2, generator=generator)], dim=1)


@pytest.mark.parametrize("seed", range(30))
def test_box_selection_equals_the_loop(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    boxes = random_boxes(40, generator)
    class_scores = torch.rand(40, 3, generator=generator)
    scores = class_scores.amax(dim=1)
    config = SelectionConfig(score_threshold=0.5, box_nms_iou=0.5)
    iou = box_iou(boxes, boxes)
    kept: list[int] = []
    for index in scores.argsort(descending=True).tolist():
        same = [k for k in kept if class_scores[k].argmax() == class_scores[index].argmax()]
        if scores[index] > 0.5 and all(iou[index, other] <= 0.5 for other in same):
            kept.append(index)
    assert select_by_score_and_box(scores, class_scores, boxes, config).tolist() == kept
    assert 0 < len(kept) < int((scores > 0.5).sum())


def test_the_best_prediction_passes_below_the_threshold_and_none_passes_as_none() -> None:
    scores = torch.tensor([0.02, 0.05, 0.01])
    boxes = torch.tensor([[0.0, 0, 4, 4]]).expand(3, 4)
    config = SelectionConfig(score_threshold=0.1, box_nms_iou=0.9)
    found = select_by_score_and_box(scores, scores[:, None], boxes, config)
    assert found.tolist() == [1]
    nothing = select_by_score_and_box(scores[:0], scores[:0, None], boxes[:0], config)
    assert nothing.shape == (0,)


def test_box_nms_without_boxes_is_refused() -> None:
    scores = torch.ones(2)
    with pytest.raises(ValueError, match="boxes"):
        select_by_score_and_box(scores, scores[:, None], None, SelectionConfig(box_nms_iou=0.9))


def test_box_iou_equals_the_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = random_boxes(6, generator), random_boxes(5, generator)
    first[0, 2:] = first[0, :2]  # no area
    found = box_iou(first, second)
    for i, a in enumerate(first.tolist()):
        for j, b in enumerate(second.tolist()):
            width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
            height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
            areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
            wanted = width * height / (areas - width * height)
            assert float(found[i, j]) == pytest.approx(wanted, abs=1e-6)
    assert box_iou(first[:0], second).shape == (0, 5)


def test_smoothing_lets_the_weaker_of_two_empty_masks_go() -> None:
    """Follows the IDOL release: (overlap + 1e-6) / (union + 1e-6)."""
    masks = -torch.ones(3, 4, 4)
    masks[1, :2] = 1.0
    scores = torch.tensor([0.9, 0.8, 0.7])
    everything = Instances(scores, scores[:, None], masks, torch.arange(3.0)[:, None])
    assert len(select_instances(everything, SelectionConfig())) == 3
    kept = select_instances(
        everything, SelectionConfig.idol_released().model_copy(update={"box_nms_iou": None})
    )
    assert kept.embeddings[:, 0].tolist() == [0, 1]
    found = pairwise_mask_iou(masks > 0, 1e-6)
    for i in range(3):
        for j in range(3):
            overlap = float(((masks[i] > 0) & (masks[j] > 0)).sum())
            union = float(((masks[i] > 0) | (masks[j] > 0)).sum())
            wanted = (overlap + 1e-6) / (union + 1e-6)
            assert float(found[i, j]) == pytest.approx(wanted, abs=1e-6)
