"""The criterion over all layers: more instances than queries, none, the matched pairs."""

import torch

from vis_core.models.criterion.hungarian_matching import UNMATCHED, hungarian_matching
from vis_core.models.criterion.mask2former_criterion import (
    PointSampling,
    QueryPredictions,
    query_losses,
)
from vis_core.structures import FrameTargets


def predictions(layers: int, frames: int, queries: int, seed: int = 0) -> QueryPredictions:
    draw = torch.Generator().manual_seed(seed)
    return QueryPredictions(
        torch.randn(layers, frames, queries, 4, generator=draw).requires_grad_(),
        torch.randn(layers, frames, queries, 8, 12, generator=draw).requires_grad_(),
    )


def squares(count: int) -> FrameTargets:
    masks = torch.zeros(count, 32, 48, dtype=torch.bool)
    for row in range(count):
        masks[row, 4 * row : 4 * row + 6, 6 * row : 6 * row + 8] = True
    return FrameTargets(torch.arange(count) % 3, masks, torch.arange(count))


def test_the_dearest_instances_stay_unmatched_when_queries_run_out() -> None:
    cost = torch.tensor([[1.0, 9.0, 2.0], [9.0, 8.0, 1.0]])
    assert hungarian_matching(cost).tolist() == [0, UNMATCHED, 1]


def test_a_crowded_frame_trains_every_query_and_drops_no_other_frame() -> None:
    made = predictions(2, 2, 3)
    losses, matched = query_losses(made, [squares(5), squares(1)], PointSampling(64), 0.1)
    assert sorted(matched[0][matched[0] != UNMATCHED].tolist()) == [0, 1, 2]
    assert (matched[0] == UNMATCHED).sum() == 2
    assert (matched[1] != UNMATCHED).all()
    sum(losses.values()).backward()
    touched = made.mask_logits.grad.abs().sum(dim=(3, 4)) > 0
    assert touched[:, 0].all()
    assert touched[:, 1].sum(dim=1).tolist() == [1, 1]


def test_frames_without_instances_cost_only_their_classes() -> None:
    made = predictions(2, 1, 3)
    losses, _ = query_losses(made, [squares(0)], PointSampling(64), 0.1)
    assert losses["mask"] == 0
    assert losses["dice"] == 0
    assert losses["class"] > 0


def test_the_same_generator_gives_the_same_losses() -> None:
    def once() -> torch.Tensor:
        draw = torch.Generator().manual_seed(4)
        losses, _ = query_losses(predictions(2, 1, 4), [squares(2)], PointSampling(64), 0.1, draw)
        return torch.stack(list(losses.values()))

    assert torch.equal(once(), once())
