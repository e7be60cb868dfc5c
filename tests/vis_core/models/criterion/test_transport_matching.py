"""Matching by optimal transport: by hand, against the loop, empty, crowded."""

import pytest
import torch

from vis_core.config.criterion import TransportConfig
from vis_core.models.criterion.transport_matching import (
    SELECTIONS,
    FrameGuess,
    FrameTruth,
    dynamic_k,
    dynamic_top_k,
    foreground_and_central,
    select_by_iou,
    select_pairs,
    transport_cost,
    transport_matching,
)

CONFIG = TransportConfig()


def drawn(num_queries: int, num_instances: int, seed: int = 0) -> tuple[FrameGuess, FrameTruth]:
    draw = torch.Generator().manual_seed(seed)

    def boxes(count: int) -> torch.Tensor:
        return 0.2 + 0.6 * torch.rand(count, 4, generator=draw)

    return (
        FrameGuess(torch.rand(num_queries, 3, generator=draw), boxes(num_queries)),
        FrameTruth(torch.arange(num_instances) % 3, boxes(num_instances)),
    )


def looped_top_k(
    cost: torch.Tensor, iou: torch.Tensor, num_ious: int, rounds: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Searches query by query, as one would write it down."""
    cost = cost.clone()
    num_queries, num_instances = cost.shape
    owners: list[set[int]] = [set() for _ in range(num_queries)]
    for g in range(num_instances):
        total = iou[:, g].sort(descending=True).values[:num_ious].sum()
        for query in cost[:, g].argsort(stable=True)[: max(int(total), 1)].tolist():
            owners[query].add(g)
    contested = [query for query in range(num_queries) if len(owners[query]) > 1]

    def settle() -> None:
        for query in contested:
            owners[query] = {int(cost[query].argmin())}

    settle()
    for _ in range(rounds):
        lonely = [g for g in range(num_instances) if not any(g in held for held in owners)]
        if not lonely:
            break
        for query in range(num_queries):
            if owners[query]:
                cost[query] += 100000.0
        for g in lonely:
            owners[int(cost[:, g].argmin())].add(g)
        if any(len(held) > 1 for held in owners):
            settle()
    else:
        for g in range(num_instances):
            if not any(g in held for held in owners):
                owners[int(cost[:, g].argmin())].add(g)
    chosen = torch.zeros(num_queries, num_instances, dtype=torch.bool)
    for query, held in enumerate(owners):
        chosen[query, list(held)] = True
    return cost, chosen


def test_the_number_of_queries_is_the_whole_part_of_the_best_ious() -> None:
    iou = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.0]])
    assert dynamic_k(iou, 2).tolist() == [1, 1]
    assert dynamic_k(iou, 3).tolist() == [2, 1]
    assert dynamic_k(iou, 10).tolist() == [2, 1]


def test_a_query_that_two_want_goes_to_the_one_it_costs_least() -> None:
    cost = torch.tensor([[1.0, 2.0], [3.0, 9.0], [9.0, 4.0]])
    iou = torch.tensor([[0.9, 0.9], [0.9, 0.5], [0.3, 0.7]])
    _, chosen = dynamic_top_k(cost, iou, 10, CONFIG)
    assert chosen.tolist() == [[True, False], [True, False], [False, True]]


def test_an_instance_that_lost_its_queries_takes_an_unused_one() -> None:
    cost = torch.tensor([[1.0, 2.0], [7.0, 8.0]])
    raised, chosen = dynamic_top_k(cost, torch.zeros(2, 2), 10, CONFIG)
    assert chosen.tolist() == [[True, False], [False, True]]
    assert raised[0].tolist() == [100001, 100002]
    assert cost[0].tolist() == [1, 2], "the cost that was given stays as it is"


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize(("num_queries", "num_instances"), [(120, 4), (30, 9), (12, 8)])
def test_the_search_equals_the_loop(num_queries: int, num_instances: int, seed: int) -> None:
    guess, truth = drawn(num_queries, num_instances, seed)
    cost = transport_cost(guess, truth, CONFIG)
    iou = torch.rand(cost.shape, generator=torch.Generator().manual_seed(seed))
    for num_ious in (10, 100):
        raised, chosen = dynamic_top_k(cost, iou, num_ious, CONFIG)
        wanted_cost, wanted = looped_top_k(cost, iou, num_ious, CONFIG.max_repairs)
        assert torch.equal(chosen, wanted)
        assert torch.equal(raised, wanted_cost)


@pytest.mark.parametrize("seed", range(20))
def test_every_instance_finds_a_query_even_when_there_are_too_few(seed: int) -> None:
    guess, truth = drawn(4, 30, seed)
    matching = transport_matching(guess, truth, CONFIG)
    assert len(matching.best_query) == 30
    cost = transport_cost(guess, truth, CONFIG)
    _, chosen = dynamic_top_k(cost, torch.rand(cost.shape), 10, CONFIG)
    assert chosen.any(dim=0).all()


def test_a_center_counts_for_the_area_and_the_box() -> None:
    true_boxes = torch.tensor([[0.5, 0.5, 0.4, 0.1]])
    centers = [[0.5, 0.5], [0.65, 0.5], [0.5, 0.57], [0.9, 0.9]]
    boxes = torch.cat([torch.tensor(centers), torch.ones(4, 2)], dim=1)
    foreground, central = foreground_and_central(boxes, true_boxes, 2.5 / 32)
    assert foreground.tolist() == [True, True, True, False]
    assert central.flatten().tolist() == [True, False, False, False]


def test_negatives_are_all_but_the_near_queries() -> None:
    guess, truth = drawn(120, 3)
    positive, negative = select_pairs(guess, truth, CONFIG)
    assert positive.shape == negative.shape == (3, 120)
    assert not (positive & negative).any()
    assert positive.any(dim=1).all()


def test_the_ablation_selects_by_thresholds_of_iou() -> None:
    truth = FrameTruth(torch.tensor([0]), torch.tensor([[0.5, 0.5, 0.4, 0.4]]))
    boxes = torch.tensor([[0.5, 0.5, 0.4, 0.36], [0.5, 0.5, 0.4, 0.2], [0.1, 0.1, 0.1, 0.1]])
    guess = FrameGuess(torch.full((3, 1), 0.5), boxes)
    positive, negative = select_by_iou(guess, truth, CONFIG)
    assert positive.tolist() == [[True, False, False]]
    assert negative.tolist() == [[False, False, True]]


def test_instances_in_another_order_get_the_same_queries() -> None:
    guess, truth = drawn(60, 4)
    order = torch.tensor([2, 0, 3, 1])
    turned = FrameTruth(truth.labels[order], truth.boxes_cxcywh_norm[order])
    first = transport_matching(guess, truth, CONFIG)
    second = transport_matching(guess, turned, CONFIG)
    assert torch.equal(first.queries, second.queries)
    assert torch.equal(first.instances, order[second.instances])
    assert torch.equal(first.best_query[order], second.best_query)


def test_a_frame_without_instances_matches_nothing() -> None:
    guess, truth = drawn(20, 0)
    matching = transport_matching(guess, truth, CONFIG)
    assert len(matching.queries) == len(matching.instances) == len(matching.best_query) == 0
    for select in SELECTIONS.values():
        assert [mask.shape for mask in select(guess, truth, CONFIG)] == [(0, 20), (0, 20)]
