"""How alike instances and tracks are: (N, C) and (M, C) to (N, M), high is alike."""

from collections.abc import Callable

import torch.nn.functional as functional
from torch import Tensor


def bisoftmax(embeddings: Tensor, memory: Tensor) -> Tensor:
    """Averages the softmax over tracks and the softmax over instances of the dot products.

    CTVIS Eq. 3; IDOL Eq. 6 with track age 0.

    Args:
        embeddings: (N, C) of the instances.
        memory: (M, C) of the tracks.

    Returns:
        (N, M) in [0, 1].
    """
    dot = embeddings @ memory.T
    return (dot.softmax(dim=1) + dot.softmax(dim=0)) / 2


def cosine(embeddings: Tensor, memory: Tensor) -> Tensor:
    """Gives the cosine of the angle between embeddings (MinVIS 3.3).

    Args:
        embeddings: (N, C) of the instances.
        memory: (M, C) of the tracks.

    Returns:
        (N, M) in [-1, 1].
    """
    return functional.normalize(embeddings, dim=1) @ functional.normalize(memory, dim=1).T


SIMILARITIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bisoftmax": bisoftmax,
    "cosine": cosine,
}
