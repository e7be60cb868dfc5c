"""The contrastive items of IDOL: their keys, and their losses as in the release."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import reference_cases
from tests.helpers.closeness import assert_near, recorded_values
from vis_core.config.criterion import TransportConfig
from vis_core.models.contrastive.idol import (
    ContrastiveItems,
    SharedTruth,
    contrastive_items,
    sample_negatives,
    shared_truth,
)
from vis_core.models.criterion.contrastive import contrastive_loss, cosine_auxiliary_loss
from vis_core.models.criterion.transport_matching import FrameGuess, FrameTruth
from vis_core.structures import FrameTargets

CASES = [
    path for path in reference_cases("idol/contrastive_*.npz") if "ref_boxes" in np.load(path).files
]
CONFIG = TransportConfig()


def squares(index: list[int]) -> FrameTargets:
    masks = torch.zeros(len(index), 20, 40, dtype=torch.bool)
    for row, instance in enumerate(index):
        masks[row, 4:12, 10 * instance : 10 * instance + 8] = True
    rows = torch.tensor(index, dtype=torch.long)
    return FrameTargets(rows % 2, masks, rows)


def built(index_on_reference: list[list[int]], config: TransportConfig) -> ContrastiveItems:
    """Builds items of pairs whose key frames contain the instances 0, 1 and 3."""
    key, draw = squares([0, 1, 3]), torch.Generator().manual_seed(0)
    size = torch.tensor([20, 40])
    shared = [shared_truth(key, squares(index), size) for index in index_on_reference]
    num = len(shared)
    guesses = [
        FrameGuess(torch.rand(30, 2, generator=draw), torch.rand(30, 4, generator=draw))
        for _ in range(num)
    ]
    embeddings = torch.randn(2, num, 30, 8, generator=draw)
    queries = [torch.tensor([5, 6, 7])] * num
    items = contrastive_items(embeddings[0], queries, embeddings[1], guesses, shared, config)
    for (video, row), anchor in zip(items.places.tolist(), items.anchors, strict=True):
        assert torch.equal(anchor, embeddings[0, video, 5 + row])
    return items


def test_an_instance_that_both_frames_show_is_one_item() -> None:
    items = built([[3, 2, 0], [2], [1]], CONFIG)
    assert items.places.tolist() == [[0, 0], [0, 2], [2, 1]]
    assert items.keys.shape == (3, 30, 8)
    assert not (items.positive_mask & items.negative_mask).any()


def test_the_boxes_on_the_reference_frame_follow_from_its_masks_and_its_own_size() -> None:
    shared = shared_truth(squares([1, 0]), squares([0]), torch.tensor([20, 40]))
    assert shared.key_rows.tolist() == [1]
    torch.testing.assert_close(shared.truth.boxes_cxcywh_norm, torch.tensor([[0.1, 0.4, 0.2, 0.4]]))


@pytest.mark.parametrize("selection", ["transport", "iou"])
def test_pairs_that_share_nothing_give_no_items(selection: str) -> None:
    items = built([[2], []], TransportConfig(selection=selection))
    assert len(items) == 0
    assert items.keys.shape == (0, 30, 8)
    assert sample_negatives(items, None).shape == (0, 30)


def test_ten_negatives_a_positive_are_drawn_or_all() -> None:
    negative = torch.ones(3, 40, dtype=torch.bool)
    positive = torch.zeros(3, 40, dtype=torch.bool)
    positive[0, :2] = positive[1, :9] = True
    negative &= ~positive
    items = ContrastiveItems(
        torch.zeros(3, 2), torch.zeros(3, 4), torch.zeros(3, 40, 4), positive, negative
    )
    first = sample_negatives(items, torch.Generator().manual_seed(1))
    assert first.sum(dim=1).tolist() == [20, 31, 10]
    assert not (first & ~negative).any()
    assert torch.equal(first, sample_negatives(items, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, sample_negatives(items, torch.Generator().manual_seed(2)))


@pytest.mark.parity
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_items_losses_and_gradients_are_the_authors(path: Path) -> None:
    values = recorded_values(path)
    key, reference = values["key_embeds"], values["ref_embeds"]
    for embeddings in (key, reference):
        embeddings.requires_grad_()
    shared, guesses, queries = [], [], []
    for video, boxes in enumerate(values["ref_boxes"]):
        shown = values[f"b{video}_valid"].nonzero().flatten()
        labels = values[f"b{video}_gt_labels"][shown]
        truth = FrameTruth(labels, values[f"b{video}_ref_gt_boxes"][shown])
        shared.append(SharedTruth(truth, shown))
        guesses.append(FrameGuess(values["ref_class_probabilities"][video], boxes))
        queries.append(values[f"b{video}_key_query"])
    items = contrastive_items(key, queries, reference, guesses, shared, CONFIG)
    assert items.places.tolist() == values["item_batch_instance"].tolist()
    sampled = torch.zeros_like(items.negative_mask)
    for item, negative in enumerate(items.negative_mask):
        drawn = values[f"item{item}_aux_sample_ids"].long()
        sampled[item, negative.nonzero().flatten()[drawn]] = True
    drawn_here = sample_negatives(items, torch.Generator().manual_seed(0))
    assert drawn_here.sum(dim=1).tolist() == sampled.sum(dim=1).tolist()
    losses = {
        "reid": contrastive_loss(
            items.anchors, items.keys, items.keys, items.negative_mask, items.positive_mask
        ),
        "aux": cosine_auxiliary_loss(
            items.anchors, items.keys, items.keys, sampled, items.positive_mask
        ),
    }
    recorded = {"reid": "loss_reid", "aux": "loss_reid_aux"}
    for name, loss in losses.items():
        assert_near(loss, values[recorded[name]])
        gradients = torch.autograd.grad(loss, (key, reference), retain_graph=True)
        for side, gradient in zip(("key", "ref"), gradients, strict=True):
            wanted = values[f"grad_{name}_{side}"]
            assert_near(gradient, wanted)
