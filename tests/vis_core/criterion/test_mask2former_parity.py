"""The criterion against the authors' (reference ctvis/mask2former_criterion) at given points."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import reference_cases
from vis_core.criterion.classification import query_class_loss
from vis_core.criterion.contrastive import contrastive_loss, cosine_auxiliary_loss
from vis_core.criterion.hungarian_matching import (
    MatchingWeights,
    hungarian_matching,
    matching_cost,
)
from vis_core.criterion.mask import dice_loss, mask_bce_loss
from vis_core.geometry.points import sample_at

CRITERIA = reference_cases("ctvis/mask2former_criterion*.npz")
LOSSES = reference_cases("ctvis/train_loss_function*.npz")
_LAYERS = {"main": 2, "aux0": 0, "aux1": 1}


def tensors(path: Path) -> dict[str, torch.Tensor]:
    with np.load(path) as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file}


@pytest.mark.parity
@pytest.mark.parametrize("layer", _LAYERS)
@pytest.mark.parametrize("path", CRITERIA, ids=lambda path: path.stem)
def test_costs_matches_and_losses(path: Path, layer: str) -> None:
    values = tensors(path)
    index = _LAYERS[layer]
    logits = values[f"layer{index}_logits"].requires_grad_()
    masks = values[f"layer{index}_masks"].requires_grad_()
    num_classes = logits.shape[2] - 1
    wanted = torch.full(logits.shape[:2], num_classes)
    chosen, truth = [], []
    for frame in range(len(logits)):
        labels = values[f"target{frame}_labels"].long()
        true_masks = values[f"target{frame}_masks"].float()
        points = values[f"{layer}_matcher_points{frame}"]
        cost = matching_cost(
            logits[frame].detach(),
            sample_at(masks[frame][None].detach(), points)[0],
            labels,
            sample_at(true_masks[None], points)[0],
            MatchingWeights(),
        )
        torch.testing.assert_close(cost, values[f"{layer}_cost{frame}"], atol=1e-5, rtol=1e-4)
        query, instance = values[f"{layer}_match{frame}"]
        matched = hungarian_matching(cost)
        assert matched[instance].tolist() == query.tolist()
        wanted[frame, matched] = labels
        # the recorded points are in the authors' order of matched pairs
        chosen.append(masks[frame, query])
        truth.append(true_masks[instance])
    suffix = {"main": "", "aux0": "_0", "aux1": "_1"}[layer]
    points = values[f"{layer}_loss_points"]
    point_logits = sample_at(torch.cat(chosen)[:, None], points)[:, 0]
    point_truth = sample_at(torch.cat(truth)[:, None], points)[:, 0]
    found = {
        "loss_ce": query_class_loss(logits, wanted, 0.1),
        "loss_mask": mask_bce_loss(point_logits, point_truth).sum() / len(points),
        "loss_dice": dice_loss(point_logits, point_truth).sum() / len(points),
    }
    for name, value in found.items():
        expected = values[f"out_{name}{suffix}"]
        torch.testing.assert_close(
            value, expected.float(), atol=1e-5, rtol=1e-4, check_dtype=False, msg=name
        )
    total = 2 * found["loss_ce"] + 5 * found["loss_mask"] + 5 * found["loss_dice"]
    total.backward()
    for name, tensor in (("logits", logits), ("masks", masks)):
        wanted_gradient = values[f"grad_layer{index}_{name}"]
        torch.testing.assert_close(tensor.grad, wanted_gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parity
@pytest.mark.parametrize("path", LOSSES, ids=lambda path: path.stem)
def test_contrastive_losses(path: Path) -> None:
    values = tensors(path)
    cases = sorted({name.split("_")[0] for name in values} - {"all"})
    assert cases
    for case in cases:
        anchor, keys = values[f"{case}_anchor"], values[f"{case}_keys"]
        positive = values[f"{case}_label"] == 1
        negatives = keys[~positive][None]
        counted = torch.ones(negatives.shape[:2], dtype=torch.bool)
        loss = contrastive_loss(anchor, keys[positive][None], negatives, counted)
        torch.testing.assert_close(loss, values[f"{case}_loss_reid"], atol=1e-5, rtol=1e-4)
        auxiliary = cosine_auxiliary_loss(anchor, keys[positive][None], negatives, counted)
        torch.testing.assert_close(auxiliary, values[f"{case}_loss_aux"], atol=1e-5, rtol=1e-4)
