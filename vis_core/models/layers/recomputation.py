"""Less memory for more time: layers that compute their activations again (Chen et al. 2016)."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

# how the networks here call their lists of repeated layers
_LISTS = ("layers", "blocks", "stages")


def recompute_layers(network: nn.Module) -> int:
    """Makes the repeated layers of a network keep only what enters them; the gradient is the same.

    Layers with batch norms that learn their statistics are left alone: they would see each batch
    twice. Evaluation is not touched. Call it once, before the network is wrapped, and after it was
    copied.

    Returns:
        How many layers there are.
    """
    chosen = repeated_layers(network)
    for layer in chosen:
        once = layer.forward
        setattr(layer, "forward", partial(_recomputed, layer, once))  # noqa: B010
    return len(chosen)


def repeated_layers(network: nn.Module) -> list[nn.Module]:
    """Finds the innermost layers of repetition that may be computed twice."""
    lists = [
        module
        for name, module in network.named_modules()
        if isinstance(module, nn.ModuleList) and name.rpartition(".")[2] in _LISTS
    ]
    layers = [layer for found in lists for layer in found if any(layer.children())]
    inner = [layer for layer in layers if not any(_holds(layer, other) for other in layers)]
    return [layer for layer in inner if not any(map(_counts, layer.modules()))]


def _recomputed(layer: nn.Module, once: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if layer.training:
        return checkpoint(once, *args, use_reentrant=False, **kwargs)
    return once(*args, **kwargs)


def _holds(layer: nn.Module, other: nn.Module) -> bool:
    return other is not layer and any(other is module for module in layer.modules())


def _counts(module: nn.Module) -> bool:
    """Whether a module moves statistics when it is called."""
    return (
        isinstance(module, nn.modules.batchnorm._BatchNorm)
        and module.training
        and module.track_running_stats
    )
