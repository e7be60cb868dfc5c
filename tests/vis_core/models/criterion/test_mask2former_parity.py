"""The criterion against the authors' (reference ctvis/mask2former_criterion) at given points."""

import json
from pathlib import Path

import pytest
import torch

from tests.conftest import reference_cases
from tests.helpers.closeness import assert_near, recorded_values
from vis_core.association.similarity import cosine
from vis_core.geometry.points import sample_at, uncertain_points
from vis_core.models.criterion.classification import query_class_loss
from vis_core.models.criterion.contrastive import contrastive_loss, cosine_auxiliary_loss
from vis_core.models.criterion.hungarian_matching import (
    MatchingWeights,
    hungarian_matching,
    matching_cost,
)
from vis_core.models.criterion.mask import dice_loss, mask_bce_loss
from vis_core.models.criterion.mask2former_criterion import (
    PointSampling,
    QueryPredictions,
    query_losses,
)
from vis_core.structures import FrameTargets

CRITERIA = reference_cases("ctvis/mask2former_criterion*.npz")
LOSSES = reference_cases("ctvis/train_loss_function*.npz")


@pytest.mark.parity
@pytest.mark.parametrize("path", CRITERIA, ids=lambda path: path.stem)
def test_costs_matches_and_losses(path: Path) -> None:
    case = json.loads((path.parent / "criterion_cases.json").read_text())[path.stem]
    names = recorded_values(path)
    last = sum(name.startswith("layer") and name.endswith("_logits") for name in names) - 1
    for index in range(last + 1):
        check_layer(recorded_values(path), case, index, "main" if index == last else f"aux{index}")


def check_layer(values: dict[str, torch.Tensor], case: dict, index: int, layer: str) -> None:
    """Compares the costs, the matches, the losses and the gradients of one decoder layer."""
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
            MatchingWeights(case["cost"]["cls"], case["cost"]["mask"], case["cost"]["dice"]),
        )
        assert_near(cost, values[f"{layer}_cost{frame}"])
        query, instance = values[f"{layer}_match{frame}"]
        matched = hungarian_matching(cost)
        assert matched[instance].tolist() == query.tolist()
        wanted[frame, matched] = labels
        # the recorded points are in the authors' order of matched pairs
        chosen.append(masks[frame, query])
        truth.append(true_masks[instance])
    suffix = "" if layer == "main" else f"_{index}"
    points = values[f"{layer}_loss_points"]
    point_logits = sample_at(torch.cat(chosen)[:, None], points)[:, 0]
    point_truth = sample_at(torch.cat(truth)[:, None], points)[:, 0]
    found = {
        "loss_ce": query_class_loss(logits, wanted, case["eos_coef"]),
        "loss_mask": mask_bce_loss(point_logits, point_truth).sum() / len(points),
        "loss_dice": dice_loss(point_logits, point_truth).sum() / len(points),
    }
    for name, value in found.items():
        expected = values[f"out_{name}{suffix}"]
        assert_near(value, expected.float())
    total = sum(weight * found[name] for name, weight in case["weights"].items())
    total.backward()
    for name, tensor in (("logits", logits), ("masks", masks)):
        wanted_gradient = values[f"grad_layer{index}_{name}"]
        assert_near(tensor.grad, wanted_gradient)


@pytest.mark.parity
@pytest.mark.parametrize("path", CRITERIA, ids=lambda path: path.stem)
def test_the_whole_criterion_keeps_the_points_of_the_release(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = json.loads((path.parent / "criterion_cases.json").read_text())[path.stem]
    values = recorded_values(path)
    logits, masks = layers(values, "layer", "logits"), layers(values, "layer", "masks")
    targets = [
        FrameTargets(labels.long(), values[f"target{n}_masks"].bool(), torch.arange(len(labels)))
        for n in range(logits.shape[1])
        for labels in [values[f"target{n}_labels"]]
    ]
    names = [*(f"aux{layer}" for layer in range(len(logits) - 1)), "main"]
    draws = [
        torch.cat([values[f"{name}_matcher_points{frame}"] for frame in range(len(targets))])
        for name in names
    ]
    draws += [by_instance(values, names, part) for part in ("rand_oversampled", "rand_remaining")]
    wanted_points, handed = by_instance(values, names, "points"), iter(draws)

    def recorded_points(count: int, num_points: int, *_: object) -> torch.Tensor:
        points = next(handed)
        assert points.shape == (count, num_points, 2)
        return points

    def compared_points(*arguments: torch.Tensor) -> torch.Tensor:
        points = uncertain_points(*arguments)
        # topk returns points in its own order
        for ours, wanted in zip(points, wanted_points, strict=True):
            assert sorted(ours.tolist()) == sorted(wanted.tolist())
        return points

    module = "vis_core.models.criterion.mask2former_criterion"
    monkeypatch.setattr(f"{module}.random_points", recorded_points)
    monkeypatch.setattr(f"{module}.uncertain_points", compared_points)
    sampling = PointSampling(
        case["num_points"], case["oversample_ratio"], case["importance_sample_ratio"]
    )
    predictions = QueryPredictions(logits.requires_grad_(), masks.requires_grad_())
    losses, matched = query_losses(predictions, targets, sampling, case["eos_coef"])
    assert next(handed, None) is None
    for frame, found in enumerate(matched):
        query, instance = values[f"main_match{frame}"]
        assert found[instance].tolist() == query.tolist()
    weights = case["weights"]
    total = (
        weights["loss_ce"] * losses["class"]
        + weights["loss_mask"] * losses["mask"]
        + weights["loss_dice"] * losses["dice"]
    )
    wanted_total = values["out_total_weighted"].float()
    assert_near(total, wanted_total)
    total.backward()
    for tensor, kind in ((logits, "logits"), (masks, "masks")):
        wanted = layers(values, "grad_layer", kind)
        assert_near(tensor.grad, wanted)


def layers(values: dict[str, torch.Tensor], prefix: str, kind: str) -> torch.Tensor:
    """Stacks a recorded value of all decoder layers (L, F, ...), the answer last."""
    count = sum(name.startswith(prefix) and name.endswith(kind) for name in values)
    return torch.stack([values[f"{prefix}{layer}_{kind}"] for layer in range(count)])


def by_instance(values: dict[str, torch.Tensor], names: list[str], part: str) -> torch.Tensor:
    """Returns (N, P, 2) points of all layers' masks, in the order of instances, not of queries."""
    found = []
    for name in names:
        frames = sum(key.startswith(f"{name}_match") and "points" not in key for key in values)
        rows, first = [], 0
        for frame in range(frames):
            instance = values[f"{name}_match{frame}"][1]
            rows.append(first + instance.argsort())
            first += len(instance)
        found.append(values[f"{name}_loss_{part}"][torch.cat(rows)])
    return torch.cat(found)


@pytest.mark.parity
@pytest.mark.parametrize("path", LOSSES, ids=lambda path: path.stem)
def test_contrastive_losses(path: Path) -> None:
    values = recorded_values(path)
    cases = sorted({name.split("_")[0] for name in values} - {"all"})
    assert cases
    found: dict[str, list[torch.Tensor]] = {"reid": [], "aux": []}
    for case in cases:
        anchor, keys = values[f"{case}_anchor"], values[f"{case}_keys"]
        positive = values[f"{case}_label"] == 1
        assert_near(keys @ anchor.T, values[f"{case}_dot"])
        cosines = cosine(keys, anchor)
        assert_near(cosines, values[f"{case}_cos"])
        negatives = keys[~positive][None]
        counted = torch.ones(negatives.shape[:2], dtype=torch.bool)
        arguments = anchor, keys[positive][None], negatives, counted
        found["reid"].append(contrastive_loss(*arguments))
        found["aux"].append(cosine_auxiliary_loss(*arguments))
        for name, losses in found.items():
            wanted = values[f"{case}_loss_{name}"]
            assert_near(losses[-1], wanted)
    for name, losses in found.items():
        wanted = values[f"all_loss_{name}"]
        assert_near(torch.stack(losses).mean(), wanted)
