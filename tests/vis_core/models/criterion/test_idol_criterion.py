"""The criterion of IDOL over layers and frames: by loop, empty, and the authors' training step."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import reference_cases
from tests.helpers.closeness import assert_near
from vis_core.config.criterion import TransportConfig
from vis_core.models.criterion.idol_criterion import BoxPredictions, detection_losses, frame_truth
from vis_core.structures import FrameTargets

STEPS = [
    path
    for path in reference_cases("idol/train_step_*.npz")
    if "layer0_pred_logits" in np.load(path).files
]
CONFIG = TransportConfig()
SIZES = torch.tensor([[30, 44], [32, 48]])
# The authors' names and weights of our terms
WEIGHTED = {
    "class": ("loss_ce", 2),
    "box": ("loss_bbox", 5),
    "giou": ("loss_giou", 2),
    "mask": ("loss_mask", 2),
    "dice": ("loss_dice", 5),
}


def squares(count: int) -> FrameTargets:
    masks = torch.zeros(count, 32, 48, dtype=torch.bool)
    for row in range(count):
        masks[row, 4 * row : 4 * row + 12, 6 * row : 6 * row + 14] = True
    return FrameTargets(torch.arange(count) % 3, masks, torch.arange(count))


class Drawn:
    """Predictions of two layers, two frames and 15 queries, with masks on demand."""

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        self.logits = torch.randn(2, 2, 15, 3, generator=draw).requires_grad_()
        self.boxes = torch.rand(2, 2, 15, 4, generator=draw).requires_grad_()
        self.masks = torch.randn(2, 2, 15, 8, 12, generator=draw).requires_grad_()
        self.predictions = BoxPredictions(self.logits, self.boxes)
        self.asked: dict[tuple[int, int], list[int]] = {}

    def mask_logits_of(self, layer: int, frame: int, queries: torch.Tensor) -> torch.Tensor:
        self.asked[layer, frame] = queries.tolist()
        return self.masks[layer, frame, queries]


def test_the_losses_of_layers_and_frames_equal_the_loop() -> None:
    drawn, targets = Drawn(), [squares(3), squares(1)]
    losses, matchings = detection_losses(
        drawn.predictions, drawn.mask_logits_of, targets, SIZES, CONFIG
    )
    expected = dict.fromkeys(losses, 0.0)
    for layer, frames in enumerate(matchings):
        positives = sum(len(matching.queries) for matching in frames)
        for frame, matching in enumerate(frames):
            owner = dict(zip(matching.queries.tolist(), matching.instances.tolist(), strict=True))
            assert drawn.asked[layer, frame] == list(owner)
            truth = frame_truth(targets[frame], SIZES[frame]).boxes_cxcywh_norm
            for query in range(15):
                for label, p in enumerate(drawn.logits[layer, frame, query].sigmoid().tolist()):
                    is_true = query in owner and targets[frame].labels[owner[query]] == label
                    alpha, right = (0.25, p) if is_true else (0.75, 1 - p)
                    expected["class"] -= alpha * (1 - right) ** 2 * np.log(right) / positives
            for query, instance in owner.items():
                box = drawn.boxes[layer, frame, query].detach()
                expected["box"] += float((box - truth[instance]).abs().sum()) / positives
                p = drawn.masks[layer, frame, query].detach().sigmoid()
                t = targets[frame].masks[instance, 2::4, 2::4].float()
                dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
                expected["dice"] += float(dice) / positives
    for name in ("class", "box", "dice"):
        assert losses[name].item() == pytest.approx(expected[name], rel=1e-4)


def test_a_batch_without_instances_learns_only_classes_and_keeps_its_graph() -> None:
    drawn = Drawn()
    losses, matchings = detection_losses(
        drawn.predictions, drawn.mask_logits_of, [squares(0), squares(0)], SIZES, CONFIG
    )
    assert losses["class"] > 0
    assert [losses[name].item() for name in ("box", "giou", "mask", "dice")] == [0] * 4
    assert all(len(matching.best_query) == 0 for frames in matchings for matching in frames)
    sum(losses.values()).backward()
    for tensor in (drawn.boxes, drawn.masks):
        assert tensor.grad is not None
        assert not tensor.grad.any()


def test_gradients_reach_matched_queries_only_and_are_finite() -> None:
    drawn = Drawn()
    losses, matchings = detection_losses(
        drawn.predictions, drawn.mask_logits_of, [squares(2), squares(0)], SIZES, CONFIG
    )
    sum(losses.values()).backward()
    for tensor in (drawn.logits, drawn.boxes, drawn.masks):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
    for layer, frames in enumerate(matchings):
        for frame, matching in enumerate(frames):
            touched = drawn.masks.grad[layer, frame].flatten(1).any(dim=1).nonzero().flatten()
            assert touched.tolist() == matching.queries.tolist()


@pytest.mark.parity
@pytest.mark.parametrize("path", STEPS, ids=lambda path: path.stem)
def test_a_training_step_is_the_authors(path: Path) -> None:
    with np.load(path) as file:
        values = {name: torch.from_numpy(np.asarray(file[name])) for name in file}
    num_layers = sum(name.endswith("_pred_logits") for name in values)
    num_videos = len(values["layer0_pred_logits"])
    targets, sizes = [], []
    for video in range(num_videos):
        ids = values[f"video{video}_frame0_ids"]
        masks = values[f"video{video}_frame0_masks"]
        shown = (ids >= 0).nonzero().flatten()
        targets.append(FrameTargets(values[f"video{video}_labels"][shown], masks[shown], shown))
        sizes.append(masks.shape[1:])
    for layer in range(num_layers):
        last = layer == num_layers - 1
        predictions = BoxPredictions(
            values[f"layer{layer}_pred_logits"][None], values[f"layer{layer}_pred_boxes"][None]
        )

        # masks are recorded only for the matched queries of the last layer
        def masks_of(
            _: int, frame: int, queries: torch.Tensor, recorded_here: bool = last
        ) -> torch.Tensor:
            recorded = values[f"last_layer_video{frame}_pred_masks"]
            return (
                recorded if recorded_here else recorded.new_zeros(len(queries), *recorded.shape[1:])
            )

        losses, (matched,) = detection_losses(
            predictions, masks_of, targets, torch.tensor(sizes), CONFIG
        )
        for video, matching in enumerate(matched):
            name = f"layer{layer}_video{video}"
            selected = values[f"{name}_selected_query"].nonzero().flatten()
            assert matching.queries.tolist() == selected.tolist()
            assert matching.instances.tolist() == values[f"{name}_gt_of_selected"].tolist()
            assert matching.best_query.tolist() == values[f"{name}_best_query_per_gt"].tolist()
        for ours, (theirs, weight) in WEIGHTED.items():
            if last or ours in ("class", "box", "giou"):
                wanted = values[theirs if last else f"{theirs}_{layer}"]
                assert_near(weight * losses[ours], wanted)
