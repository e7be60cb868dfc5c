"""Masks from dynamic filters: a small network's weights are predicted for every instance.

IDOL Eq. 1 and STC Eq. 1, both after CondInst (Tian 2020).
"""

import torch
from torch import Tensor, nn

from vis_core.geometry.masks import aligned_upsampling


class DynamicMaskHead(nn.Module):
    """A few 1x1 convolutions with predicted weights and no weights of their own.

    Args:
        in_channels: Mask feature channels, without the two relative coordinates.
        hidden_channels: Channels between the convolutions.
        num_layers: Number of convolutions; the last has one output channel.
        stride: Mask feature stride in pixels of the padded input.
        relative_coordinates: Whether each pixel's offset from the instance is an input.
        upsampling: Mask size relative to the features.
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
        hidden = [hidden_channels] * (num_layers - 1)
        widths = [in_channels + 2 * relative_coordinates, *hidden, 1]
        self.shapes = list(zip(widths[1:], widths[:-1], strict=True))
        self.stride, self.upsampling = stride, upsampling
        self.relative_coordinates = relative_coordinates

    @property
    def num_parameters(self) -> int:
        """The number of parameters per mask, P."""
        return sum(out * (inside + 1) for out, inside in self.shapes)

    def forward(
        self, features: Tensor, parameters: Tensor, points: Tensor, scale: Tensor | None = None
    ) -> Tensor:
        """Computes the mask of each instance: IDOL Eq. 1, STC Eq. 1.

        Args:
            features: (c, h, w) of one frame.
            parameters: (N, P) all weights, layer by layer, then all biases.
            points: (N, 2) x and y of each instance in pixels of the padded input.
            scale: (N,) pixels by which relative coordinates are divided (CondInst); None leaves
                them in pixels (IDOL release).

        Returns:
            (N, 2 h, 2 w) mask logits at half the stride, if ``upsampling`` is 2.
        """
        count, (height, width) = len(parameters), features.shape[1:]
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
        """Splits (N, P) into weights (N, out, in) and biases (N, out)."""
        sizes = [out * inside for out, inside in self.shapes] + [out for out, _ in self.shapes]
        parts = parameters.split(sizes, dim=1)
        count = len(self.shapes)
        weights = zip(parts[:count], self.shapes, strict=True)
        return [part.reshape(-1, *shape) for part, shape in weights], list(parts[count:])


def pixel_centers(height: int, width: int, stride: int, like: Tensor) -> Tensor:
    """Returns the (2, h * w) x and y of each cell's centre, in pixels of the padded input."""
    x = torch.arange(width, device=like.device, dtype=torch.float32) * stride + stride // 2
    y = torch.arange(height, device=like.device, dtype=torch.float32) * stride + stride // 2
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns.flatten(), rows.flatten()])
