"""Masks by dynamic filters: the authors' numbers, a naive loop, and no instance at all."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.conftest import reference_cases
from tests.helpers.closeness import assert_near, recorded_values
from vis_core.geometry.masks import aligned_upsampling
from vis_core.models.layers.dynamic_mask_head import DynamicMaskHead


def drawn(count: int) -> tuple[DynamicMaskHead, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    head = DynamicMaskHead(in_channels=3, hidden_channels=4, num_layers=3, stride=8)
    features = torch.randn(3, 5, 6, generator=draw)
    parameters = torch.randn(count, head.num_parameters, generator=draw)
    return head, features, parameters, 40 * torch.rand(count, 2, generator=draw)


@pytest.mark.parity
@pytest.mark.parametrize(
    "path", reference_cases("idol/mask_head_*.npz"), ids=lambda path: path.stem
)
def test_masks_are_those_of_the_release(path: Path) -> None:
    values = recorded_values(path)
    features = values["mask_feats"]
    head = DynamicMaskHead(features.shape[1], values["weight1"].shape[1])
    assert head.num_parameters == values["params"].shape[2]
    first, found = 0, []
    for row, count in enumerate(values["num_insts"].tolist()):
        own = slice(first, first + count)
        points = values["reference_points_pixels"][0, own]
        found.append(head(features[row], values["params"][0, own], points))
        first += count
    assert_near(torch.cat(found), values["mask_logits"][0])


def test_masks_equal_the_loop_over_instances_and_pixels() -> None:
    head, features, parameters, points = drawn(4)
    maps = torch.zeros(4, 5, 6)
    for n in range(4):
        flat = parameters[n]
        weights = [flat[:20].view(4, 5), flat[20:36].view(4, 4), flat[36:40].view(1, 4)]
        biases = [flat[40:44], flat[44:48], flat[48:49]]
        for i in range(5):
            for j in range(6):
                center = torch.tensor([8.0 * j + 4, 8.0 * i + 4])
                x = torch.cat([points[n] - center, features[:, i, j]])
                for layer in range(3):
                    x = weights[layer] @ x + biases[layer]
                    x = x.relu() if layer < 2 else x
                maps[n, i, j] = x
    assert_near(head(features, parameters, points), aligned_upsampling(maps))


def test_no_instance_gives_no_mask() -> None:
    head, features, parameters, points = drawn(0)
    assert head(features, parameters, points).shape == (0, 10, 12)


def test_coordinates_may_be_divided_or_left_out() -> None:
    head, features, parameters, points = drawn(2)
    scale = torch.full((2,), 64.0)
    assert not torch.equal(
        head(features, parameters, points), head(features, parameters, points, scale)
    )
    without = DynamicMaskHead(3, 4, 3, relative_coordinates=False)
    assert without.num_parameters == head.num_parameters - 2 * 4


@pytest.mark.parity
@pytest.mark.parametrize(
    "path", reference_cases("idol/aligned_bilinear*.npz"), ids=lambda path: path.stem
)
def test_maps_grow_as_in_the_release(path: Path) -> None:
    values = recorded_values(path)
    grown = {int(name.removeprefix("factor")): name for name in values if name != "x"}
    for factor, name in grown.items():
        found = aligned_upsampling(values["x"].flatten(0, 1), factor)
        assert_near(found, values[name].flatten(0, 1))
