"""The contrastive items of CTVIS 3.3: anchors, each with its positive and negatives.

A clip's embeddings are stored frame by frame in the same kind of memory as in inference. Then the
items for all frames are built at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from vis_core.association.memory import MemoryBank
from vis_core.config.association import AssociationConfig
from vis_core.config.contrastive import CtvisItemsConfig


@dataclass(frozen=True)
class ItemDraws:
    """The random numbers for the items of one clip, each uniform in [0, 1).

    Attributes:
        latest: (T, G); 0.5 or less makes the newest embedding the positive, if configured.
        noise: (T, G); ``1 - noise_probability`` or more stores noise for an absent instance.
        noise_pick: (T, G); selects the embedding stored as noise.
        background: (T, Q); the queries with the lowest numbers are sampled.
    """

    latest: Tensor
    noise: Tensor
    noise_pick: Tensor
    background: Tensor

    @classmethod
    def random(
        cls, shape: tuple[int, int, int], device: torch.device, generator: torch.Generator | None
    ) -> "ItemDraws":
        """Draws the numbers for a clip with ``shape`` (T, G, Q) from a CPU generator."""
        num_frames, num_instances, num_queries = shape
        sizes = [num_instances] * 3 + [num_queries]
        drawn = torch.rand(num_frames, sum(sizes), generator=generator)
        return cls(*drawn.to(device).split(sizes, dim=1))


@dataclass(frozen=True)
class ContrastiveItems:
    """I items, each with an anchor, a positive and negatives.

    Attributes:
        places: (I, 2) frame and instance of each item, ordered by frame, then by instance.
        anchors: (I, C).
        positives: (I, C).
        negatives: (I, P, C); undefined where the mask is False.
        negative_mask: (I, P) bool.
    """

    places: Tensor
    anchors: Tensor
    positives: Tensor
    negatives: Tensor
    negative_mask: Tensor


@dataclass(frozen=True)
class ClipMemory:
    """The memory of G instances over a clip; a row is valid where its flag is True.

    Attributes:
        stored: (T, G, C) embedding stored in the frame.
        is_stored: (T, G) bool.
        fused: (T, G, C) similarity-guided average after the frame (CTVIS Eq. 1-2).
        latest: (T, G, C) newest embedding after the frame.
        is_known: (T, G) bool, stored in this frame or earlier.
    """

    stored: Tensor
    is_stored: Tensor
    fused: Tensor
    latest: Tensor
    is_known: Tensor


def contrastive_items(
    embeddings: Tensor,
    matched_query: Tensor,
    present: Tensor,
    config: CtvisItemsConfig,
    draws: ItemDraws,
) -> ContrastiveItems:
    """Builds the items for one clip (CTVIS 3.3, Fig. 2 b and c).

    An instance both in the memory and in frame t yields one item: its embedding is the anchor, and
    its memory is the positive. The negatives are the other instances' memories and the previous
    frame's background queries. Gradients flow through all embeddings.

    Args:
        embeddings: (T, Q, C) of all queries.
        matched_query: (T, G) int64; undefined where an instance is absent.
        present: (T, G) bool.
        config: Sources of positives, negatives and noise.
        draws: Random numbers.
    """
    matched_query = matched_query.where(present, 0)
    memory = clip_memory(embeddings, matched_query, present, config, draws)
    positives, has_positive = _positives(memory, config, draws)
    anchored = memory.is_stored if config.noise == "query" else present
    places = (anchored & has_positive)[1:].nonzero()
    places[:, 0] += 1
    frame, instance = places.unbind(dim=1)
    if config.negatives == "memory":
        negatives, mask = _memory_negatives(
            memory, embeddings, matched_query, present, places, config.num_background, draws
        )
    else:
        negatives = embeddings[frame - 1]
        same = torch.zeros(negatives.shape[:2], dtype=torch.bool, device=embeddings.device)
        same.scatter_(1, matched_query[frame - 1, instance][:, None], True)
        mask = ~(same & present[frame - 1, instance][:, None])
    return ContrastiveItems(
        places, memory.stored[frame, instance], positives[frame, instance], negatives, mask
    )


def clip_memory(
    embeddings: Tensor,
    matched_query: Tensor,
    present: Tensor,
    config: CtvisItemsConfig,
    draws: ItemDraws,
) -> ClipMemory:
    """Stores a clip frame by frame, as in inference (arguments as in ``contrastive_items``)."""
    stored, is_stored = _with_noise(embeddings, matched_query, present, config, draws)
    num_frames, num_instances, width = stored.shape
    memory = MemoryBank(AssociationConfig(history_length=num_frames))
    fused, latest = [], []
    empty = stored.new_zeros(num_instances, width)
    for t in range(num_frames):
        ids = is_stored[t].nonzero().flatten()
        if len(ids) or len(memory):
            memory.write(ids, stored[t, ids], stored.new_ones(len(ids)))
        fused.append(empty.index_put((memory.ids,), memory.fused) if len(memory) else empty)
        latest.append(
            empty.index_put((memory.ids,), memory.history[:, 0]) if len(memory) else empty
        )
    known = is_stored.cumsum(dim=0) > 0
    return ClipMemory(stored, is_stored, torch.stack(fused), torch.stack(latest), known)


def concat_items(parts: Sequence[ContrastiveItems]) -> ContrastiveItems:
    """Concatenates items, padding shorter lists of negatives with masked ones."""
    most = max(part.negatives.shape[1] for part in parts)
    fields: list[list[Tensor]] = []
    for part in parts:
        missing = most - part.negatives.shape[1]
        negatives = functional.pad(part.negatives, (0, 0, 0, missing))
        mask = functional.pad(part.negative_mask, (0, missing))
        fields.append([part.places, part.anchors, part.positives, negatives, mask])
    return ContrastiveItems(*map(torch.cat, zip(*fields, strict=True)))


def _with_noise(
    embeddings: Tensor,
    matched_query: Tensor,
    present: Tensor,
    config: CtvisItemsConfig,
    draws: ItemDraws,
) -> tuple[Tensor, Tensor]:
    """Returns the (T, G, C) embeddings to store, with noise, and a (T, G) mask of valid ones."""
    noisy = ~present & (draws.noise >= 1 - config.noise_probability)
    if config.noise_probability == 0:
        noisy = torch.zeros_like(present)
    if config.noise == "query":
        count = torch.full_like(matched_query[:, :1], embeddings.shape[1])
        pick = (draws.noise_pick * count).long()
    else:
        known_before = present.cumsum(dim=0) > 0
        count = present.sum(dim=1, keepdim=True)
        noisy &= known_before & (count > 0)
        # picks one of the instances present in the frame, which are sorted to the front
        present_first = (~present).to(torch.uint8).argsort(dim=1, stable=True)
        chosen = present_first.gather(1, (draws.noise_pick * count).long())
        pick = matched_query.gather(1, chosen)
    query = torch.where(noisy, pick, matched_query)
    is_stored = present | noisy
    frames = torch.arange(len(embeddings), device=embeddings.device)[:, None]
    return embeddings[frames, query.where(is_stored, 0)], is_stored


def _positives(
    memory: ClipMemory, config: CtvisItemsConfig, draws: ItemDraws
) -> tuple[Tensor, Tensor]:
    """Returns each instance's positive (T, G, C) in each frame, and a (T, G) mask of valid ones."""
    before = torch.cat([memory.fused[:1], memory.fused[:-1]])
    if config.positives == "memory_or_latest":
        newest = torch.cat([memory.latest[:1], memory.latest[:-1]])
        before = torch.where((draws.latest <= 0.5)[..., None], newest, before)
    known_before = torch.cat([torch.zeros_like(memory.is_known[:1]), memory.is_known[:-1]])
    if not config.future_positives:
        return before, known_before
    future, has_future = _first_later(memory)
    return torch.where(known_before[..., None], before, future), known_before | has_future


def _first_later(memory: ClipMemory) -> tuple[Tensor, Tensor]:
    """Returns the first embedding (T, G, C) stored after each frame, and a mask of valid ones.

    As in the release, an instance counts as never returning after frame t if it is absent from
    exactly t of the later frames.
    """
    never, device = len(memory.is_stored), memory.stored.device
    index = torch.arange(never, device=device)
    when = torch.where(memory.is_stored, index[:, None], never)
    # the first frame >= t, computed backwards; then the first frame > t
    first = when.flip(0).cummin(dim=0).values.flip(0)
    later = torch.cat([first[1:], torch.full_like(first[:1], never)])
    absences = (~memory.is_stored).flip(0).cumsum(dim=0).flip(0) - (~memory.is_stored).long()
    found = (later < never) & (absences != index[:, None])
    instance = torch.arange(memory.stored.shape[1], device=device)
    return memory.stored[later.clamp(max=never - 1), instance], found


def _memory_negatives(
    memory: ClipMemory,
    embeddings: Tensor,
    matched_query: Tensor,
    present: Tensor,
    places: Tensor,
    num_background: int,
    draws: ItemDraws,
) -> tuple[Tensor, Tensor]:
    """Returns each item's negatives from the frame before, and a mask of valid ones."""
    frame, instance = places.unbind(dim=1)
    others = memory.is_known[frame - 1].clone()
    others[torch.arange(len(frame), device=others.device), instance] = False
    taken = torch.zeros(embeddings.shape[:2], dtype=torch.bool, device=embeddings.device)
    rows, columns = present.nonzero(as_tuple=True)
    taken[rows, matched_query[rows, columns]] = True
    count = min(num_background, embeddings.shape[1])
    # matched queries rank last, so the sample contains them only if the background is exhausted
    ranked = (draws.background + taken).topk(count, dim=1, largest=False, sorted=True)
    frames = torch.arange(len(embeddings), device=embeddings.device)[:, None]
    background, is_background = embeddings[frames, ranked.indices], ranked.values < 1
    keys = torch.cat([memory.fused, background], dim=1)
    mask = torch.cat([others, is_background[frame - 1]], dim=1)
    return keys[frame - 1], mask
