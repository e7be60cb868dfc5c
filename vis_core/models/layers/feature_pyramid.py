"""The feature pyramid of FCOS and CondInst: P3 to P5 from the backbone, P6 from P5, P7 from P6."""

from collections.abc import Sequence

import torch.nn.functional as functional
from torch import Tensor, nn

from vis_core.models.layers.initialization import kaiming_uniform

STRIDES = (8, 16, 32, 64, 128)


class FeaturePyramid(nn.Module):
    """Three maps, merged from coarse to fine (Lin 2017), and two coarser maps (Tian 2019)."""

    def __init__(self, in_widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(in_width, width, 1) for in_width in in_widths)
        self.output = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in in_widths)
        self.p6 = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(width, width, 3, stride=2, padding=1)
        kaiming_uniform(self)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Computes five maps (F, C, h, w), at ``STRIDES``, from maps at the first three strides.

        The finest map's sides must be multiples of 4.
        """
        mixed = [lateral(level) for lateral, level in zip(self.lateral, maps, strict=True)]
        for fine in range(len(mixed) - 2, -1, -1):
            upsampled = functional.interpolate(mixed[fine + 1], scale_factor=2, mode="nearest")
            mixed[fine] = mixed[fine] + upsampled
        levels: list[Tensor] = [out(level) for out, level in zip(self.output, mixed, strict=True)]
        levels.append(self.p6(levels[-1]))
        levels.append(self.p7(levels[-1].relu()))
        return levels
