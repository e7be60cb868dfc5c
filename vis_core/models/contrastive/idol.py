"""The contrastive items of IDOL 3.2: what each instance of a key frame is compared with.

The embedding of an instance on the key frame is the anchor; the queries of the reference frame are
its positives and negatives.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vis_core.config.criterion import TransportConfig
from vis_core.models.criterion.idol_criterion import frame_truth
from vis_core.models.criterion.transport_matching import SELECTIONS, FrameGuess, FrameTruth
from vis_core.structures import FrameTargets

# Released IDOL: the auxiliary loss looks at ten times as many negatives as positives.
_NEGATIVES_PER_POSITIVE = 10


@dataclass(frozen=True)
class SharedTruth:
    """Is the truth of a reference frame as far as the key frame shows the same instances.

    Attributes:
        truth: Class and box on the reference frame of G' instances.
        key_rows: (G',) int64 which of the G instances of the key frame each is.
    """

    truth: FrameTruth
    key_rows: Tensor


@dataclass(frozen=True)
class ContrastiveItems:
    """Is I items of anchor and keys: an instance that both frames of a pair show is one item.

    Attributes:
        places: (I, 2) video and instance (row of the key frame) of each item.
        anchors: (I, C) on the key frame.
        keys: (I, Q, C) of all queries of the reference frame.
        positive_mask: (I, Q) bool.
        negative_mask: (I, Q) bool.
    """

    places: Tensor
    anchors: Tensor
    keys: Tensor
    positive_mask: Tensor
    negative_mask: Tensor

    def __len__(self) -> int:
        return len(self.anchors)


def shared_truth(key: FrameTargets, reference: FrameTargets, size: Tensor) -> SharedTruth:
    """Finds the instances of a key frame on its reference frame of (2,) height and width."""
    same = key.instance_index[:, None] == reference.instance_index[None]
    key_rows, reference_rows = same.nonzero(as_tuple=True)
    shown = FrameTargets(
        reference.labels[reference_rows],
        reference.masks[reference_rows],
        reference.instance_index[reference_rows],
    )
    return SharedTruth(frame_truth(shown, size), key_rows)


def contrastive_items(
    key_embeddings: Tensor,
    key_queries: Sequence[Tensor],
    reference_embeddings: Tensor,
    guesses: Sequence[FrameGuess],
    shared: Sequence[SharedTruth],
    config: TransportConfig,
) -> ContrastiveItems:
    """Builds the items of B pairs (IDOL 3.2, Fig. 2). Nothing is detached but the selection.

    Args:
        key_embeddings: (B, Q, C) of all queries of the key frames.
        key_queries: B tensors (G,), the best query of each instance of the key frame.
        reference_embeddings: (B, Q, C) of all queries of the reference frames.
        guesses: What the last layer says of the B reference frames.
        shared: B truths of the reference frames.
        config: Names the selection and its numbers.
    """
    select = SELECTIONS[config.selection]
    masks = [select(guess, part.truth, config) for guess, part in zip(guesses, shared, strict=True)]
    counts = torch.tensor([len(part.key_rows) for part in shared])
    device = key_embeddings.device
    video = torch.arange(len(shared)).repeat_interleave(counts).to(device)
    rows = torch.cat([part.key_rows for part in shared])
    queries = torch.cat(
        [queries[part.key_rows] for queries, part in zip(key_queries, shared, strict=True)]
    )
    return ContrastiveItems(
        torch.stack([video, rows], dim=1),
        key_embeddings[video, queries],
        reference_embeddings[video],
        torch.cat([positive for positive, _ in masks]),
        torch.cat([negative for _, negative in masks]),
    )


def sample_negatives(items: ContrastiveItems, generator: torch.Generator | None) -> Tensor:
    """Draws the negatives of the auxiliary loss: ten a positive, or all if there are fewer.

    Args:
        items: I items; one without a positive draws ten.
        generator: Of the CPU.

    Returns:
        (I, Q) bool, a subset of ``negative_mask``.
    """
    drawn = torch.rand(items.negative_mask.shape, generator=generator)
    drawn = drawn.to(items.negative_mask.device).masked_fill(~items.negative_mask, 2)
    rank = drawn.argsort(dim=1).argsort(dim=1)
    wanted = _NEGATIVES_PER_POSITIVE * items.positive_mask.sum(dim=1, keepdim=True).clamp(min=1)
    return (rank < wanted) & items.negative_mask
