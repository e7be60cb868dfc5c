"""Layer initialization where the releases differ from torch's defaults."""

import math

from torch import Tensor, nn


def kaiming_uniform(module: nn.Module) -> None:
    """Initializes linear and convolution layers like detectron2's ``c2_xavier_fill``; biases: 0."""
    for layer in _weighted(module):
        nn.init.kaiming_uniform_(layer.weight, a=1)
        _zero_bias(layer)


def xavier_uniform(module: nn.Module) -> None:
    """Initializes linear and convolution layers by Glorot's rule; biases are 0."""
    for layer in _weighted(module):
        nn.init.xavier_uniform_(layer.weight)
        _zero_bias(layer)


def normal(module: nn.Module, deviation: float) -> None:
    """Initializes linear and convolution layers from a normal distribution; biases are 0."""
    for layer in _weighted(module):
        nn.init.normal_(layer.weight, std=deviation)
        _zero_bias(layer)


def prior_bias(layer: nn.Linear | nn.Conv2d, probability: float = 0.01) -> None:
    """Initializes a class head's bias so that every class starts rare (focal loss, Lin 2017)."""
    assert layer.bias is not None
    nn.init.constant_(layer.bias, -math.log((1 - probability) / probability))


def uniform_bias(layer: nn.Linear) -> None:
    """Initializes a linear layer's bias as torch does: within ``1 / sqrt(in_features)`` of 0."""
    bound = 1 / math.sqrt(layer.in_features)
    nn.init.uniform_(layer.bias, -bound, bound)


def stacked_xavier_uniform(*weights: Tensor) -> None:
    """Initializes (out, in) weights as one stacked matrix, like torch's attention q, k and v."""
    rows = sum(len(weight) for weight in weights)
    bound = math.sqrt(6 / (rows + weights[0].shape[1]))
    for weight in weights:
        nn.init.uniform_(weight, -bound, bound)


def _weighted(module: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]


def _zero_bias(layer: nn.Linear | nn.Conv2d) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
