"""Masks by dynamic filters: every instance brings the weights of its own small network.

IDOL Eq. 1 and STC Eq. 1, both after CondInst (Tian 2020).
"""

import torch
from torch import Tensor, nn

from vis_core.geometry.masks import aligned_upsampling


class DynamicMaskHead(nn.Module):
    """Runs a few 1x1 convolutions whose weights are predicted; it has none of its own.

    Args:
        in_channels: Of the mask features, without the two relative coordinates.
        hidden_channels: Between the convolutions.
        num_layers: Convolutions; the last gives one channel.
        stride: Of the mask features, pixels of the padded input.
        relative_coordinates: Whether each pixel is told where it lies from the instance.
        upsampling: How many times larger a mask is than the features.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int = 8,
        num_layers: int = 3,
        stride: int = 8,
        relative_coordinates: bool = True,
        upsampling: int = 2,
    ) -> None:
        super().__init__()
        widths = [in_channels + 2 * relative_coordinates]
        widths += [hidden_channels] * (num_layers - 1) + [1]
        self.shapes = list(zip(widths[1:], widths[:-1], strict=True))
        self.stride = stride
        self.relative_coordinates = relative_coordinates
        self.upsampling = upsampling

    @property
    def num_parameters(self) -> int:
        """How many numbers an instance must bring."""
        return sum(out * (inside + 1) for out, inside in self.shapes)

    def forward(
        self, features: Tensor, parameters: Tensor, points: Tensor, scale: Tensor | None = None
    ) -> Tensor:
        """Makes the mask of each instance: IDOL Eq. 1, STC Eq. 1.

        Args:
            features: (c, h, w) of one frame.
            parameters: (N, P) all weights, layer by layer, then all biases.
            points: (N, 2) x and y of each instance in pixels of the padded input.
            scale: (N,) pixels that relative coordinates are divided by (CondInst); None: by
                nothing (released IDOL).

        Returns:
            (N, 2 h, 2 w) mask logits at half the stride, 2 being the upsampling.
        """
        count = len(parameters)
        height, width = features.shape[1:]
        x = features.flatten(1).expand(count, -1, -1)
        if self.relative_coordinates:
            offsets = points[:, :, None] - pixel_centers(height, width, self.stride, features)
            if scale is not None:
                offsets = offsets / scale[:, None, None]
            x = torch.cat([offsets.to(x.dtype), x], dim=1)
        weights, biases = self._split(parameters)
        for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            x = torch.baddbmm(bias[:, :, None], weight, x)
            if number + 1 < len(weights):
                x = x.relu()
        return aligned_upsampling(x.view(count, height, width), self.upsampling)

    def _split(self, parameters: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Cuts (N, P) into weights (N, out, in) and biases (N, out)."""
        sizes = [out * inside for out, inside in self.shapes] + [out for out, _ in self.shapes]
        parts = parameters.split(sizes, dim=1)
        count = len(self.shapes)
        weights = [
            part.reshape(-1, *shape) for part, shape in zip(parts[:count], self.shapes, strict=True)
        ]
        return weights, list(parts[count:])


def pixel_centers(height: int, width: int, stride: int, like: Tensor) -> Tensor:
    """Gives the (2, h * w) x and y of the middle of each cell, in pixels of the padded input."""
    x = torch.arange(width, device=like.device, dtype=torch.float32) * stride + stride // 2
    y = torch.arange(height, device=like.device, dtype=torch.float32) * stride + stride // 2
    grid = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([grid[1].flatten(), grid[0].flatten()])
