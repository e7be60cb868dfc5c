"""The release's whole embedding loss with its second matching (train_loss_with_matcher)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import reference_cases
from tests.helpers.closeness import assert_near
from vis_core.config.contrastive import CtvisItemsConfig
from vis_core.geometry.points import sample_at
from vis_core.models.contrastive.ctvis import ItemDraws, concat_items, contrastive_items
from vis_core.models.criterion.contrastive import contrastive_loss, cosine_auxiliary_loss
from vis_core.models.criterion.hungarian_matching import (
    MatchingWeights,
    hungarian_matching,
    matching_cost,
)


@pytest.mark.parity
@pytest.mark.parametrize(
    "path", reference_cases("ctvis/train_loss_with_matcher*.npz"), ids=lambda path: path.stem
)
def test_matches_losses_and_gradients_are_those_of_the_release(path: Path) -> None:
    case = json.loads((path.parent / "criterion_cases.json").read_text())[path.stem]
    with np.load(path) as file:
        values = {name: torch.from_numpy(np.asarray(file[name])) for name in file}
    embeddings = values["pred_embeds"].requires_grad_()
    coins = iter(values["np_random_coins"].tolist())
    pooled = []
    for video in range(case["B"]):
        frames = range(video * case["T"], (video + 1) * case["T"])
        present = torch.stack([values[f"frame{n}_ids"] >= 0 for n in frames])
        queries = torch.stack([matched(values, case, n, t, video) for t, n in enumerate(frames)])
        clip = embeddings[frames.start : frames.stop]
        # the release tosses a coin for each instance that was present before
        known = torch.cat([torch.zeros_like(present[:1]), (present.cumsum(0) > 0)[:-1]])
        latest = torch.ones(present.shape)
        for t, instance in (present & known).nonzero().tolist():
            latest[t, instance] = next(coins)
        nothing = torch.zeros(present.shape)
        draws = ItemDraws(latest, nothing, nothing, torch.zeros(case["T"], case["Q"]))
        config = CtvisItemsConfig.released()
        pooled.append(contrastive_items(clip, queries, present, config, draws))
    assert next(coins, None) is None
    items = concat_items(pooled)
    keys = items.negatives, items.negative_mask
    weights = case["loss_weights"]
    reid = weights["loss_reid"] * contrastive_loss(
        items.anchors, items.positives.unsqueeze(1), *keys
    )
    auxiliary = weights["loss_aux_reid"] * cosine_auxiliary_loss(
        items.anchors, items.positives.unsqueeze(1), *keys
    )
    assert_near(reid, values["loss_reid_weighted"])
    assert_near(auxiliary, values["loss_aux_reid_weighted"])
    (gradient,) = torch.autograd.grad(reid + auxiliary, embeddings)
    assert_near(gradient, values["grad_embeds"])


def matched(values: dict, case: dict, frame: int, t: int, video: int) -> torch.Tensor:
    """Matches all instances of the clip at the recorded points and checks against the authors."""
    ids, masks = values[f"frame{frame}_ids"], values[f"frame{frame}_masks"].float()
    labels = torch.where(ids >= 0, values[f"frame{frame}_classes"].long(), case["K"])
    points = values[f"points_frame{t}_video{video}"]
    cost = matching_cost(
        values["pred_logits"][frame],
        sample_at(values["pred_masks"][frame][None], points)[0],
        labels,
        sample_at(masks[None], points)[0],
        MatchingWeights(),
    )
    ours = hungarian_matching(cost)
    query, instance = values[f"match_frame{t}_video{video}"]
    assert ours[instance].tolist() == query.tolist()
    return ours
