"""Rounds over all instances decide exactly as the papers' loop over them does."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vis_core.association.assignment import greedy, hungarian
from vis_core.segmentors.selection import mask_iou, select_instances
from vis_core.segmentors.settings import SelectionConfig
from vis_core.structures import Instances


def greedy_loop(scores: Tensor, floor: float) -> list[int]:
    """CTVIS Eq. 4 word for word; -1 where an instance gets no track."""
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
    found = [int(row) if won else -1 for row, won in zip(claim.row, claim.won, strict=True)]
    assert found == greedy_loop(scores, floor)


def test_greedy_when_all_want_the_same_tracks() -> None:
    scores = torch.linspace(1, 2, 30).expand(30, 30)
    claim = greedy(scores, torch.zeros(30))
    assert claim.row.tolist() == list(range(29, -1, -1))
    assert claim.won.all()


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
    iou = mask_iou(masks > 0)
    kept: list[int] = []
    for index in scores.argsort(descending=True).tolist():
        if scores[index] > 0.2 and all(iou[index, other] <= 0.4 for other in kept):
            kept.append(index)
    assert found.embeddings[:, 0].int().tolist() == kept
    assert 0 < len(kept) < int((scores > 0.2).sum())
