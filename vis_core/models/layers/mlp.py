"""The multilayer perceptron in DETR-like heads."""

from itertools import pairwise

from torch import Tensor, nn


class Mlp(nn.Module):
    """Linear layers with ReLU between them but not after the last.

    CTVIS 3.1 and IDOL 3.1 use three layers as the embedding head.
    """

    def __init__(self, in_width: int, hidden_width: int, out_width: int, num_layers: int) -> None:
        super().__init__()
        widths = [in_width] + [hidden_width] * (num_layers - 1) + [out_width]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., in_width) to (..., out_width)."""
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)
