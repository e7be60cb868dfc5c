"""The items of CTVIS's ablations, worked out by hand: Table 3, Table 4 and Fig. 4's baseline.

Instance 0 is query 0 of frames 0 and 1 and query 2 of frame 3; instance 1 is query 1 of all frames.
Query 3 is always background.
"""

import pytest
import torch

from vis_core.config.contrastive import CtvisItemsConfig
from vis_core.models.contrastive.ctvis import ContrastiveItems, ItemDraws, contrastive_items

QUERY = torch.tensor([[0, 1], [0, 1], [0, 1], [2, 1]])
PRESENT = torch.tensor([[1, 1], [1, 1], [0, 1], [1, 1]]).bool()
# each query of each frame has a direction of its own
EMBEDDINGS = torch.stack(
    [torch.arange(1.0, 17).reshape(4, 4).sin(), torch.arange(1.0, 17).reshape(4, 4).cos()], dim=2
)
BACKGROUND = torch.tensor([[0.9, 0.8, 0.3, 0.2], [0.9, 0.9, 0.6, 0.7], [0.1] * 4, [0.0] * 4])


def items(**settings: object) -> ContrastiveItems:
    config = CtvisItemsConfig(noise_probability=0).model_copy(update=settings)
    unused = torch.zeros(4, 2)
    draws = ItemDraws(unused, unused, unused, BACKGROUND)
    return contrastive_items(EMBEDDINGS, QUERY, PRESENT, config, draws)


def query_of(vector: torch.Tensor) -> tuple[int, int]:
    """Returns the frame and query that a vector is from."""
    ((frame, query),) = (vector == EMBEDDINGS).all(dim=2).nonzero().tolist()
    return frame, query


def keys(found: ContrastiveItems, row: int) -> list[tuple[int, int]]:
    """Returns the frames and queries of an item's negatives."""
    return [query_of(vector) for vector in found.negatives[row][found.negative_mask[row]]]


def test_without_a_memory_bank_the_previous_frame_alone_is_compared() -> None:
    found = items(compare_with="previous_frame")
    # instance 0 is absent in frame 2, so frame 3 has nothing to compare it with
    assert found.places.tolist() == [[1, 0], [1, 1], [2, 1], [3, 1]]
    assert [query_of(one) for one in found.anchors] == [(1, 0), (1, 1), (2, 1), (3, 1)]
    assert [query_of(one) for one in found.positives] == [(0, 0), (0, 1), (1, 1), (2, 1)]
    assert keys(found, 0) == [(0, 1), (0, 3), (0, 2)]
    assert keys(found, 2) == [(1, 0), (1, 2), (1, 3)]
    # in frame 2 instance 0 has no embedding; the queries without an instance are background
    assert sorted(keys(found, 3)) == [(2, 0), (2, 2), (2, 3)]


def test_a_new_instance_has_no_future_positive_without_a_memory_bank() -> None:
    found = items(compare_with="previous_frame", future_positives=True)
    assert found.places.tolist() == [[1, 0], [1, 1], [2, 1], [3, 1]]
    with_memory = items(future_positives=True)
    assert with_memory.places.tolist() == [[1, 0], [1, 1], [2, 1], [3, 0], [3, 1]]


def test_the_multi_reference_baseline_compares_the_key_frame_with_every_other() -> None:
    found = items(compare_with="references")
    assert found.places.tolist() == [[0, 0], [0, 1], [0, 1], [0, 0], [0, 1]]
    assert [query_of(one) for one in found.anchors] == [(0, 0), (0, 1), (0, 1), (0, 0), (0, 1)]
    assert [query_of(one) for one in found.positives] == [(1, 0), (1, 1), (2, 1), (3, 2), (3, 1)]
    assert keys(found, 0) == [(1, 1), (1, 2), (1, 3)]
    assert sorted(keys(found, 3)) == [(3, 0), (3, 1), (3, 3)]
    released = items(compare_with="references", negatives="previous_frame")
    assert keys(released, 3) == [(3, 0), (3, 1), (3, 3)]


def test_the_latest_embedding_stands_for_every_instance() -> None:
    found = items(positives="latest", num_background=0)
    assert found.places.tolist() == [[1, 0], [1, 1], [2, 1], [3, 0], [3, 1]]
    assert [query_of(one) for one in found.positives] == [(0, 0), (0, 1), (1, 1), (1, 0), (2, 1)]
    assert [keys(found, row) for row in range(5)] == [
        [(0, 1)],
        [(0, 0)],
        [(1, 0)],
        [(2, 1)],
        [(1, 0)],
    ]


def test_the_momentum_average_is_compared_instead() -> None:
    average, latest = (items(positives=name, num_background=0) for name in ("memory", "latest"))
    first, second = EMBEDDINGS[0, 0], EMBEDDINGS[1, 0]
    beta = torch.cosine_similarity(first, second, dim=0).clamp(min=0)
    expected = (1 - beta) * first + beta * second
    torch.testing.assert_close(average.positives[3], expected)
    torch.testing.assert_close(average.negatives[4][average.negative_mask[4]], expected[None])
    assert torch.equal(average.places, latest.places)
    assert not torch.equal(average.positives[3], latest.positives[3])


@pytest.mark.parametrize("compare_with", ["memory", "previous_frame"])
def test_major_and_supplementary_negatives_stand_alone(compare_with: str) -> None:
    both, major, supplementary = (
        items(compare_with=compare_with, positives="latest", **changes)
        for changes in ({}, {"num_background": 0}, {"negatives": "background"})
    )
    for row in range(len(both.places)):
        assert keys(both, row) == keys(major, row) + keys(supplementary, row)
    assert keys(major, 0) == [(0, 1)]
    assert keys(supplementary, 0) == [(0, 3), (0, 2)]


def test_global_background_is_drawn_from_all_previous_frames() -> None:
    found = items(negatives="background", background="global", num_background=3)
    by_place = {tuple(place): keys(found, row) for row, place in enumerate(found.places.tolist())}
    assert by_place[1, 0] == [(0, 3), (0, 2)]  # there are no more
    assert by_place[2, 1] == [(0, 3), (0, 2), (1, 2)]
    assert len(by_place[3, 0]) == 3
    assert all(frame == 2 for frame, _ in by_place[3, 0])  # its draws are the lowest
    local = items(negatives="background", num_background=3)
    assert keys(local, 2) == [(1, 2), (1, 3)]
