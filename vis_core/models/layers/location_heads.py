"""The CondInst heads (Tian 2020): predictions at places in the pyramid, and mask features."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from vis_core.geometry.masks import aligned_upsampling
from vis_core.models.layers.initialization import kaiming_uniform, normal, prior_bias

_GROUPS = 32  # groups of the group norm (FCOS)


class LocationHead(nn.Module):
    """Class, box, centre-ness and mask kernel heads for every place; levels share weights (FCOS).

    Each tower has ``num_convs`` convolutions; ``num_kernels`` is P, the parameters per mask.
    """

    def __init__(
        self, width: int, num_convs: int, num_classes: int, num_kernels: int, num_levels: int
    ) -> None:
        super().__init__()
        self.class_tower = _tower(width, num_convs)
        self.box_tower = _tower(width, num_convs)
        self.class_head = nn.Conv2d(width, num_classes, 3, padding=1)
        self.box_head = nn.Conv2d(width, 4, 3, padding=1)
        self.center_head = nn.Conv2d(width, 1, 3, padding=1)
        self.controller = nn.Conv2d(width, num_kernels, 3, padding=1)
        self.scales = nn.ParameterList(torch.ones(1) for _ in range(num_levels))
        normal(self, 0.01)
        prior_bias(self.class_head)

    def forward(self, levels: Sequence[Tensor]) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Predicts from each level (F, C, h, w).

        Returns:
            For each level, class logits (F, K, h, w), nonnegative distances to the four sides in
            strides (F, 4, h, w), centre-ness logits (F, 1, h, w) and kernels (F, P, h, w).
        """
        predictions = []
        for level, scale in zip(levels, self.scales, strict=True):
            features = self.box_tower(level)
            class_logits = self.class_head(self.class_tower(level))
            distances = (self.box_head(features) * scale).relu()
            others = (self.center_head(features), self.controller(features))
            predictions.append((class_logits, distances, *others))
        return predictions


class SummedMaskBranch(nn.Module):
    """The CondInst mask branch: the three finest levels, resized to one size and summed.

    ``num_convs`` convolutions follow the sum. ``num_classes`` is for the auxiliary pixel
    classification; None omits its head.
    """

    def __init__(
        self, in_width: int, width: int, num_convs: int, out_width: int, num_classes: int | None
    ) -> None:
        super().__init__()
        self.refine = nn.ModuleList(_conv_norm(in_width, width) for _ in range(3))
        self.tower = nn.Sequential(
            *(_conv_norm(width, width) for _ in range(num_convs)), nn.Conv2d(width, out_width, 1)
        )
        self.semantic_tower, self.semantic_head = None, None
        if num_classes is not None:
            self.semantic_tower = nn.Sequential(
                *(_conv_norm(a, b) for a, b in pairwise((in_width, width, width)))
            )
            self.semantic_head = nn.Conv2d(width, num_classes, 1)
            prior_bias(self.semantic_head)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Computes the (F, c, h, w) features at stride 8."""
        total = self.refine[0](levels[0])
        for refine, level in zip(self.refine[1:], levels[1:3], strict=True):
            refined = refine(level)
            factor = total.shape[2] // refined.shape[2]
            total = total + aligned_upsampling(refined.flatten(0, 1), factor).view_as(total)
        return self.tower(total)

    def semantic_logits(self, levels: Sequence[Tensor]) -> Tensor | None:
        """Computes (F, K, h, w) pixel class logits at stride 8; returns None without their head."""
        if self.semantic_tower is None or self.semantic_head is None:
            return None
        return self.semantic_head(self.semantic_tower(levels[0]))


def _tower(width: int, num_convs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(num_convs):
        norm = nn.GroupNorm(_GROUPS, width)
        layers += [nn.Conv2d(width, width, 3, padding=1), norm, nn.ReLU()]
    return nn.Sequential(*layers)


def _conv_norm(in_width: int, out_width: int) -> nn.Sequential:
    conv = nn.Conv2d(in_width, out_width, 3, padding=1, bias=False)
    kaiming_uniform(conv)
    return nn.Sequential(conv, nn.BatchNorm2d(out_width), nn.ReLU())
