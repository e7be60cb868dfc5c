"""The contrastive items of CTVIS 3.3: what each embedding is compared with in training.

The clip is walked frame by frame through the memory that inference uses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from vis_core.association.memory import MemoryBank
from vis_core.association.settings import AssociationConfig


class CtvisItemsConfig(BaseModel):
    """Says how contrastive items are built."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_background: int = Field(
        99, ge=0, description="Background queries of the frame before that serve as negatives."
    )
    noise_probability: float = Field(
        0.001,
        ge=0,
        le=1,
        description="Chance that an instance that is absent receives the embedding of another one "
        "(CTVIS 3.3: 'a little chance'; the release has 0.001 where it is on).",
    )


@dataclass(frozen=True)
class ContrastiveItems:
    """Is I items of anchor, positive and negatives.

    Attributes:
        anchors: (I, C).
        positives: (I, C).
        negatives: (I, P, C); anything where the mask is False.
        negative_mask: (I, P) bool.
    """

    anchors: Tensor
    positives: Tensor
    negatives: Tensor
    negative_mask: Tensor


def contrastive_items(
    embeddings: Tensor,
    matched_query: Tensor,
    present: Tensor,
    config: CtvisItemsConfig,
    generator: torch.Generator | None = None,
) -> ContrastiveItems:
    """Builds the items of one clip (CTVIS 3.3, Fig. 2 b and c).

    An instance that is in the memory and in frame t gives one item: its embedding is the anchor,
    its memory the positive, the memories of the others and the background queries of the frame
    before are the negatives.

    Args:
        embeddings: (T, Q, C) of all queries.
        matched_query: (T, G) int64; anything where an instance is absent.
        present: (T, G) bool.
        config: Numbers of negatives, chance of noise.
        generator: Of the background sample and the noise (CPU).

    Returns:
        The items in the order of frames, then instances.
    """
    num_frames, num_queries, width = embeddings.shape
    memory = MemoryBank(AssociationConfig(history_length=num_frames))
    parts = []
    for t in range(num_frames):
        shown = present[t].nonzero().flatten()
        own = embeddings[t, matched_query[t, shown]]
        if t > 0 and len(memory):
            background = _background(embeddings, matched_query, present, t - 1, config, generator)
            parts.append(_frame_items(memory, shown, own, background))
        ids, stored = _with_noise(memory, shown, own, config.noise_probability, generator)
        if len(ids) or len(memory):
            memory.write(ids, stored, stored.new_ones(len(ids)))
    empty = embeddings.new_zeros(0, width)
    no_items = ContrastiveItems(
        empty,
        empty,
        embeddings.new_zeros(0, num_queries, width),
        torch.zeros(0, num_queries, dtype=torch.bool, device=embeddings.device),
    )
    return concat_items([*parts, no_items])


def concat_items(parts: Sequence[ContrastiveItems]) -> ContrastiveItems:
    """Joins items; fewer negatives are filled up with masked ones."""
    most = max(part.negatives.shape[1] for part in parts)
    negatives, masks = [], []
    for part in parts:
        count, have, width = part.negatives.shape
        negatives.append(
            torch.cat([part.negatives, part.negatives.new_zeros(count, most - have, width)], dim=1)
        )
        masks.append(
            torch.cat([part.negative_mask, part.negative_mask.new_zeros(count, most - have)], dim=1)
        )
    return ContrastiveItems(
        torch.cat([part.anchors for part in parts]),
        torch.cat([part.positives for part in parts]),
        torch.cat(negatives),
        torch.cat(masks),
    )


def _frame_items(
    memory: MemoryBank, shown: Tensor, own: Tensor, background: Tensor
) -> ContrastiveItems:
    """Builds the items of one frame: every instance in it that the memory knows is an anchor."""
    known = torch.isin(shown, memory.ids)
    rows = torch.searchsorted(memory.ids, shown[known])
    stored = memory.read()
    others = torch.ones(len(rows), len(memory), dtype=torch.bool, device=stored.device)
    others[torch.arange(len(rows), device=stored.device), rows] = False
    keys = torch.cat([stored, background])
    mask = torch.cat([others, others.new_ones(len(rows), len(background))], dim=1)
    return ContrastiveItems(
        anchors=own[known],
        positives=stored[rows],
        negatives=keys.expand(len(rows), -1, -1),
        negative_mask=mask,
    )


def _background(
    embeddings: Tensor,
    matched_query: Tensor,
    present: Tensor,
    t: int,
    config: CtvisItemsConfig,
    generator: torch.Generator | None,
) -> Tensor:
    """Samples embeddings of frame t that belong to no instance."""
    free = torch.ones(embeddings.shape[1], dtype=torch.bool, device=embeddings.device)
    free[matched_query[t, present[t]]] = False
    queries = free.nonzero().flatten()
    if len(queries) > config.num_background:
        chosen = torch.randperm(len(queries), generator=generator)[: config.num_background]
        queries = queries[chosen.to(queries.device)]
    return embeddings[t, queries]


def _with_noise(
    memory: MemoryBank,
    shown: Tensor,
    own: Tensor,
    probability: float,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Adds, for absent instances of the memory, now and then the embedding of another one."""
    if probability == 0 or not len(memory) or not len(shown):
        return shown, own
    absent = memory.ids[~torch.isin(memory.ids, shown)]
    struck = (torch.rand(len(absent), generator=generator) < probability).to(absent.device)
    absent = absent[struck]
    taken = torch.randint(len(shown), (len(absent),), generator=generator).to(shown.device)
    return torch.cat([shown, absent]), torch.cat([own, own[taken]])
