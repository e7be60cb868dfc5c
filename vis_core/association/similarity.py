"""Similarities (N, M) between N instances and M tracks; higher means more alike.

A similarity is returned with (N,) values that it must exceed: a threshold, or a new track's score.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor

from vis_core.association.memory import MemoryBank
from vis_core.config.association import CueWeights
from vis_core.geometry.boxes import box_iou
from vis_core.structures import Instances


def bisoftmax(embeddings: Tensor, memory: Tensor, age: Tensor | None = None) -> Tensor:
    """Averages the (N, M) dot products' softmax over tracks and softmax over instances.

    CTVIS Eq. 3; IDOL Eq. 6 with the age ``sigma`` of each track in frames. As in the paper,
    ``sigma`` is added outside the exponential, and also to every term of the sum::

        (exp(e_j d_i) + sigma_j) / sum_k (exp(e_k d_i) + sigma_k)

    Sigma therefore decides between tracks that are all unlike the instance, but hardly matters if a
    dot product is large. The expression equals a softmax of
    ``log(exp(e_j d_i) + sigma_j)``, which does not overflow. Without ``age``, sigma is 0.

    The IDOL release has no sigma here; it weights the tracks above the threshold by their age
    instead (``assignment.py::greedy``).
    """
    dot = embeddings @ memory.T
    over_tracks = dot if age is None else torch.logaddexp(dot, age.to(dot).log().expand_as(dot))
    return (over_tracks.softmax(dim=1) + dot.softmax(dim=0)) / 2


def cosine(embeddings: Tensor, memory: Tensor) -> Tensor:
    """Computes the (N, M) cosines between embeddings (N, C) and (M, C) (MinVIS 3.3)."""
    return functional.normalize(embeddings, dim=1) @ functional.normalize(memory, dim=1).T


def cues(
    instances: Instances, memory: Tensor, boxes: Tensor, labels: Tensor, weights: CueWeights
) -> tuple[Tensor, Tensor]:
    """Adds up the embedding, score, box and class cues (MaskTrack R-CNN Eq. 3; STC 3.5).

    ``log p_ij + a log s_i + b IoU(i, j) + c [label_i = label_j]``, where p is the softmax over 0 (a
    new track) and the dot products with all tracks. A new track has no box and can have any
    class, so its score is ``log p_i0 + a log s_i + c``. Returns the (N, M) similarities and the
    (N,) scores of a new track.
    """
    if instances.boxes is None:
        raise ValueError('the similarity "cues" compares boxes, but the instances have none')
    dot = instances.embeddings @ memory.T
    chances = torch.cat([dot.new_zeros(len(dot), 1), dot], dim=1).log_softmax(dim=1)
    confidence = weights.score * instances.scores.log()
    same_class = (instances.labels[:, None] == labels).to(dot)
    shared = weights.iou * box_iou(instances.boxes, boxes) + weights.label * same_class
    scores = chances[:, 1:] + confidence[:, None] + shared
    return scores, chances[:, 0] + confidence + weights.label


def _bisoftmax(instances: Instances, memory: MemoryBank) -> tuple[Tensor, Tensor]:
    return _above_threshold(bisoftmax(instances.embeddings, memory.read()), memory)


def _bisoftmax_with_age(instances: Instances, memory: MemoryBank) -> tuple[Tensor, Tensor]:
    scores = bisoftmax(instances.embeddings, memory.read(), memory.seen)
    return _above_threshold(scores, memory)


def _cosine(instances: Instances, memory: MemoryBank) -> tuple[Tensor, Tensor]:
    return _above_threshold(cosine(instances.embeddings, memory.read()), memory)


def _cues(instances: Instances, memory: MemoryBank) -> tuple[Tensor, Tensor]:
    weights = memory.config.cue_weights
    return cues(instances, memory.read(), memory.boxes, memory.labels, weights)


def _above_threshold(scores: Tensor, memory: MemoryBank) -> tuple[Tensor, Tensor]:
    """Returns the scores (N, M) and the config's threshold, repeated N times."""
    threshold = memory.config.match_threshold
    return scores, scores.new_full(
        (len(scores),), float("-inf") if threshold is None else threshold
    )


SIMILARITIES: dict[str, Callable[[Instances, MemoryBank], tuple[Tensor, Tensor]]] = {
    "bisoftmax": _bisoftmax,
    "bisoftmax_with_age": _bisoftmax_with_age,
    "cosine": _cosine,
    "cues": _cues,
}
