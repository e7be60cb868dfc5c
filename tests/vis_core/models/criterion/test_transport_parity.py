"""The transport matching against the authors' (reference idol/assign_detection, contrastive_*)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import reference_cases
from tests.helpers.closeness import assert_near, recorded_values
from vis_core.config.criterion import TransportConfig
from vis_core.geometry.boxes import box_iou, to_xyxy
from vis_core.models.criterion.transport_matching import (
    FrameGuess,
    FrameTruth,
    dynamic_k,
    foreground_and_central,
    select_pairs,
    transport_cost,
    transport_matching,
)

ASSIGNMENTS = reference_cases("idol/assign_*.npz")
PAIRS = [
    path for path in reference_cases("idol/contrastive_*.npz") if "ref_boxes" in np.load(path).files
]
CONFIG = TransportConfig()


def assert_costs_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Compares by scale: a query outside every box costs about 1e4, with coarser float spacing."""
    far = expected > 1000
    assert_near(found[~far], expected[~far])
    assert_near(found[far], expected[far])


def assert_prices(guess: FrameGuess, truth: FrameTruth, recorded: dict[str, torch.Tensor]) -> None:
    foreground, central = foreground_and_central(
        guess.boxes_cxcywh_norm, truth.boxes_cxcywh_norm, CONFIG.center_radius
    )
    assert torch.equal(foreground, recorded["is_foreground"])
    assert torch.equal(central, recorded["in_box_and_center"])
    iou = box_iou(to_xyxy(guess.boxes_cxcywh_norm), to_xyxy(truth.boxes_cxcywh_norm))
    assert_near(iou, recorded["iou"])
    assert torch.equal(dynamic_k(iou, CONFIG.positive_ious), recorded["dynamic_k"].long())
    assert_costs_close(transport_cost(guess, truth, CONFIG), recorded["cost"])


@pytest.mark.parity
@pytest.mark.parametrize("path", ASSIGNMENTS, ids=lambda path: path.stem)
def test_costs_numbers_and_matched_queries(path: Path) -> None:
    values = recorded_values(path)
    cases = [name.removesuffix("_pred_boxes") for name in values if name.endswith("_pred_boxes")]
    assert cases
    for case in cases:
        recorded = {
            name.removeprefix(f"{case}_"): value
            for name, value in values.items()
            if name.startswith(f"{case}_")
        }
        guess = FrameGuess(recorded["pred_logits"].sigmoid(), recorded["pred_boxes"])
        truth = FrameTruth(recorded["gt_labels"], recorded["gt_boxes"])
        if len(truth.labels):  # the authors compute no costs on an empty frame
            assert_prices(guess, truth, recorded)
        matching = transport_matching(guess, truth, CONFIG)
        selected = recorded["selected_query"].nonzero().flatten()
        assert matching.queries.tolist() == selected.tolist(), case
        assert matching.instances.tolist() == recorded["gt_of_selected"].tolist(), case
        assert matching.best_query.tolist() == recorded["best_query_per_gt"].tolist(), case


@pytest.mark.parity
@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_positives_and_negatives_on_the_reference_frame(path: Path) -> None:
    values = recorded_values(path)
    item = 0
    for video, boxes in enumerate(values["ref_boxes"]):
        shown = values[f"b{video}_valid"]
        truth = FrameTruth(
            values[f"b{video}_gt_labels"][shown], values[f"b{video}_ref_gt_boxes"][shown]
        )
        guess = FrameGuess(values["ref_class_probabilities"][video], boxes)
        if shown.any():
            assert_costs_close(transport_cost(guess, truth, CONFIG), values[f"b{video}_cost"])
        for positive, negative in zip(*select_pairs(guess, truth, CONFIG), strict=True):
            assert torch.equal(positive, values[f"item{item}_positive_mask"])
            assert torch.equal(negative, values[f"item{item}_negative_mask"])
            item += 1
    assert item == len(values["item_batch_instance"])
