"""The contrastive items of IDOL 3.2: the comparisons for each instance in a key frame.

An instance's embedding on the key frame is the anchor; the reference frame's queries are its
positives and negatives.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vis_core.config.criterion import TransportConfig
from vis_core.models.criterion.idol_criterion import frame_truth
from vis_core.models.criterion.transport_matching import SELECTIONS, FrameGuess, FrameTruth
from vis_core.structures import FrameTargets

# In the IDOL release, the auxiliary loss compares ten times as many negatives as positives.
_NEGATIVES_PER_POSITIVE = 10


@dataclass(frozen=True)
class SharedTruth:
    """The instances visible in both a reference frame and its key frame."""

    truth: FrameTruth  # classes and boxes of the G' instances on the reference frame
    key_rows: Tensor  # (G',) int64 rows of the same instances on the key frame


@dataclass(frozen=True)
class ContrastiveItems:
    """I items with an anchor and keys: one item for each instance in both frames of a pair."""

    places: Tensor  # (I, 2) pair and instance (key-frame row) of each item
    anchors: Tensor  # (I, C) on the key frame
    keys: Tensor  # (I, Q, C) embeddings of all queries of the reference frame
    positive_mask: Tensor  # (I, Q) bool
    negative_mask: Tensor  # (I, Q) bool

    def __len__(self) -> int:
        return len(self.anchors)


def shared_truth(key: FrameTargets, reference: FrameTargets, size: Tensor) -> SharedTruth:
    """Finds a key frame's instances in its reference frame; ``size`` is (2,) height and width."""
    same = key.instance_index[:, None] == reference.instance_index[None]
    key_rows, rows = same.nonzero(as_tuple=True)
    truth = frame_truth(reference, size)
    shared = FrameTruth(truth.labels[rows], truth.boxes_cxcywh_norm[rows])
    return SharedTruth(shared, key_rows)


def contrastive_items(
    key_embeddings: Tensor,
    key_queries: Sequence[Tensor],
    reference_embeddings: Tensor,
    guesses: Sequence[FrameGuess],
    shared: Sequence[SharedTruth],
    config: TransportConfig,
) -> ContrastiveItems:
    """Builds the items for B pairs (IDOL 3.2, Fig. 2). No gradient flows through the selection.

    Args:
        key_embeddings: (B, Q, C) of all queries of the key frames.
        key_queries: B tensors (G,), the best query for each key-frame instance.
        reference_embeddings: (B, Q, C) of all queries of the reference frames.
        guesses: The last layer's predictions for the B reference frames.
        shared: Common instances of the B pairs.
        config: Selection settings.
    """
    select = SELECTIONS[config.selection]
    masks = [select(guess, part.truth, config) for guess, part in zip(guesses, shared, strict=True)]
    key_rows = [part.key_rows for part in shared]
    counts = torch.tensor([len(rows) for rows in key_rows])
    pair = torch.arange(len(shared)).repeat_interleave(counts).to(key_embeddings.device)
    queries = [queries[rows] for queries, rows in zip(key_queries, key_rows, strict=True)]
    return ContrastiveItems(
        torch.stack([pair, torch.cat(key_rows)], dim=1),
        key_embeddings[pair, torch.cat(queries)],
        reference_embeddings[pair],
        torch.cat([positive for positive, _ in masks]),
        torch.cat([negative for _, negative in masks]),
    )


def sample_negatives(items: ContrastiveItems, generator: torch.Generator | None) -> Tensor:
    """Draws the auxiliary loss's negatives, (I, Q) bool, from a CPU generator.

    Draws ten per positive, or all if there are fewer, and ten for an item without a positive.
    """
    drawn = torch.rand(items.negative_mask.shape, generator=generator)
    drawn = drawn.to(items.negative_mask.device).masked_fill(~items.negative_mask, 2)
    rank = drawn.argsort(dim=1).argsort(dim=1)
    wanted = _NEGATIVES_PER_POSITIVE * items.positive_mask.sum(dim=1, keepdim=True).clamp(min=1)
    return (rank < wanted) & items.negative_mask
