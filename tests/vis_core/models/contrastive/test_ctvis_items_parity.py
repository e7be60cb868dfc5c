"""The release's contrastive items, losses and gradients, draw by draw (reference ctvis/, 2)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import reference_cases
from tests.helpers.closeness import assert_near
from vis_core.config.contrastive import CtvisItemsConfig
from vis_core.models.contrastive.ctvis import (
    ContrastiveItems,
    ItemDraws,
    clip_memory,
    concat_items,
    contrastive_items,
)
from vis_core.models.criterion.contrastive import contrastive_loss, cosine_auxiliary_loss

CASES = [path for path in reference_cases("ctvis/train_*.npz") if "loss" not in path.stem]


def read_case(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    case = json.loads((path.parent / "train_cases.json").read_text())[path.stem]
    with np.load(path) as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file}, case


def items_config(case: dict) -> CtvisItemsConfig:
    """Converts the settings of a case to ours."""
    return CtvisItemsConfig.released().model_copy(
        update={
            "positives": "memory_or_latest" if case["momentum_embed"] else "latest",
            "noise_probability": 0.001 if case["noise_embed"] else 0.0,
        }
    )


def recorded_draws(case: dict, video: int) -> ItemDraws:
    """Replays the authors' draws; without momentum there are none for the positives."""
    shape = case["T"], case["num_obj"]
    latest = torch.ones(shape)
    noise, pick = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape)
    for draw in case["draws"]:
        row, frame, instance = draw["b_t_inst"]
        if row != video:
            continue
        if draw["phase"] == "sample":
            latest[frame, instance] = draw["value"]
        elif "randint" in draw["call"]:
            pick[frame, instance] = (draw["value"] + 0.5) / case["Q"]
        else:
            noise[frame, instance] = draw["value"]
    return ItemDraws(latest, noise, pick, torch.zeros(case["T"], case["Q"]))


def all_items(values: dict, case: dict) -> list[ContrastiveItems]:
    embeddings = values["pred_embeds"]
    return [
        contrastive_items(
            embeddings[:, row],
            values["gt_query"][:, row].long(),
            values["valid"][:, row].bool(),
            items_config(case),
            recorded_draws(case, row),
        )
        for row in range(case["B"])
    ]


@pytest.mark.parity
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_memory_of_a_clip_is_that_of_the_release(path: Path) -> None:
    values, case = read_case(path)
    for row in range(case["B"]):
        memories = clip_memory(
            values["pred_embeds"][:, row],
            values["gt_query"][:, row].long(),
            values["valid"][:, row].bool(),
            items_config(case),
            recorded_draws(case, row),
        )
        for ours, there, name in (
            (memories.stored, memories.is_stored, "stored_embeds"),
            (memories.fused, memories.is_known, "ma_embeds"),
        ):
            wanted = values[name][row]
            assert torch.equal(there, ~wanted.isnan().any(dim=2)), name
            assert_near(ours[there], wanted[there])


@pytest.mark.parity
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_items_losses_and_gradients_are_those_of_the_release(path: Path) -> None:
    values, case = read_case(path)
    values["pred_embeds"].requires_grad_()
    parts = all_items(values, case)
    places = [[row, *place] for row, part in enumerate(parts) for place in part.places.tolist()]
    assert places == values["item_bti"].tolist()
    items = concat_items(parts)
    assert_near(items.anchors, values["item_anchor"])
    assert_near(items.positives, values["item_pos"])
    assert items.negative_mask.sum(dim=1).tolist() == values["item_num_neg"].tolist()
    for ours, mask, wanted, count in zip(
        items.negatives,
        items.negative_mask,
        values["item_neg"],
        values["item_num_neg"],
        strict=True,
    ):
        assert_near(ours[mask], wanted[: int(count)])
    keys = items.negatives, items.negative_mask
    losses = {
        "reid": contrastive_loss(items.anchors, items.positives.unsqueeze(1), *keys),
        "aux": cosine_auxiliary_loss(items.anchors, items.positives.unsqueeze(1), *keys),
    }
    for name, wanted in (("reid", values["loss_reid"]), ("aux", values["loss_aux_reid"])):
        assert_near(losses[name], wanted)
        (gradient,) = torch.autograd.grad(losses[name], values["pred_embeds"], retain_graph=True)
        assert_near(gradient, values[f"grad_{name}"])
