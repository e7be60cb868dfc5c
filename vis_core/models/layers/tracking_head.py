"""The STC tracking head (3.3): one embedding map from the three finest levels."""

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from vis_core.models.layers.initialization import normal


class TrackingHead(nn.Module):
    """Shared convolutions over P3 to P5, joined at stride 8.

    The paper mentions only "several convolutional layers" and "fused". The two convolutions,
    bilinear upsampling and 1x1 convolution over the three levels follow SipMask. The embeddings
    have ``out_width`` channels (STC Table 5: 256).
    """

    def __init__(self, in_width: int, out_width: int, num_convs: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(num_convs):
            conv = nn.Conv2d(in_width, in_width, 3, padding=1, bias=False)
            layers += [conv, nn.GroupNorm(32, in_width), nn.ReLU()]
        self.shared = nn.Sequential(*layers)
        self.join = nn.Conv2d(3 * in_width, out_width, 1)
        normal(self, 0.01)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Computes the (F, C, h, w) embeddings at stride 8; they are not normalised."""
        size = levels[0].shape[2:]
        upsampled = [
            functional.interpolate(self.shared(level), size=size, mode="bilinear")
            for level in levels[:3]
        ]
        return self.join(torch.cat(upsampled, dim=1))
