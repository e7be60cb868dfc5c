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
    """The random numbers for the items of one clip, each uniform in [0, 1)."""

    latest: Tensor  # (T, G); 0.5 or less makes the newest embedding the positive, if configured
    noise: Tensor  # (T, G); ``1 - noise_probability`` or more stores noise for an absent instance
    noise_pick: Tensor  # (T, G); selects the embedding stored as noise
    background: Tensor  # (T, Q); the queries with the lowest numbers are sampled

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
    """I items, each with an anchor, a positive and negatives."""

    places: Tensor  # (I, 2) frame and instance of each anchor, ordered by frame, then by instance
    anchors: Tensor  # (I, C)
    positives: Tensor  # (I, C)
    negatives: Tensor  # (I, P, C); undefined where the mask is False
    negative_mask: Tensor  # (I, P) bool


@dataclass(frozen=True)
class ClipMemory:
    """The memory of G instances over a clip; a row is valid where its flag is True."""

    stored: Tensor  # (T, G, C) embedding stored in the frame
    is_stored: Tensor  # (T, G) bool
    fused: Tensor  # (T, G, C) similarity-guided average after the frame (CTVIS Eq. 1-2)
    latest: Tensor  # (T, G, C) newest embedding after the frame
    is_known: Tensor  # (T, G) bool, stored in this frame or earlier


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
    frame's background queries. ``compare_with`` selects other sources. Gradients flow through all
    embeddings.

    Args:
        embeddings: (T, Q, C) of all queries.
        matched_query: (T, G) int64; undefined where an instance is absent.
        present: (T, G) bool.
        config: Sources of positives, negatives and noise.
        draws: Random numbers.
    """
    matched_query = matched_query.where(present, 0)
    memory = clip_memory(embeddings, matched_query, present, config, draws)
    keys, sources = _compared_frames(len(embeddings), config, embeddings.device)
    positives, has_positive = _positives(memory, keys, sources, config, draws)
    anchored = memory.is_stored if config.noise == "query" else present
    pair, instance = (anchored[keys] & has_positive).nonzero(as_tuple=True)
    frame, source = keys[pair], sources[pair]
    if config.negatives == "previous_frame":
        negatives = embeddings[source]
        same = torch.zeros(negatives.shape[:2], dtype=torch.bool, device=embeddings.device)
        same.scatter_(1, matched_query[source, instance][:, None], True)
        mask = ~(same & present[source, instance][:, None])
    else:
        others = memory.is_known[source]
        others[torch.arange(len(source), device=others.device), instance] = False
        others &= config.negatives == "memory"
        background, is_background = _background(embeddings, matched_query, present, config, draws)
        negatives = torch.cat([_bank(memory, config), background], dim=1)[source]
        mask = torch.cat([others, is_background[source]], dim=1)
    places = torch.stack([frame, instance], dim=1)
    anchors = memory.stored[frame, instance]
    return ContrastiveItems(places, anchors, positives[pair, instance], negatives, mask)


def clip_memory(
    embeddings: Tensor,
    matched_query: Tensor,
    present: Tensor,
    config: CtvisItemsConfig,
    draws: ItemDraws,
) -> ClipMemory:
    """Stores a clip frame by frame, as in inference (arguments as in ``contrastive_items``).

    Without a memory bank, each frame's embeddings replace those of the previous frame.
    """
    stored, is_stored = _with_noise(embeddings, matched_query, present, config, draws)
    if config.compare_with != "memory":
        return ClipMemory(stored, is_stored, stored, stored, is_stored)
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


def _compared_frames(
    num_frames: int, config: CtvisItemsConfig, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Returns the P frames of the anchors and the frame with which each of them is compared."""
    later = torch.arange(1, num_frames, device=device)
    if config.compare_with == "references":
        return torch.zeros_like(later), later
    return later, later - 1


def _bank(memory: ClipMemory, config: CtvisItemsConfig) -> Tensor:
    """Returns the (T, G, C) embeddings that represent the instances after each frame."""
    return memory.latest if config.positives == "latest" else memory.fused


def _positives(
    memory: ClipMemory, keys: Tensor, sources: Tensor, config: CtvisItemsConfig, draws: ItemDraws
) -> tuple[Tensor, Tensor]:
    """Returns the positives (P, G, C) for P pairs of frames, and a mask of valid ones."""
    before, known_before = _bank(memory, config)[sources], memory.is_known[sources]
    if config.positives == "memory_or_latest":
        newest = (draws.latest[keys] <= 0.5)[..., None]
        before = torch.where(newest, memory.latest[sources], before)
    if not config.future_positives or config.compare_with != "memory":
        return before, known_before
    future, has_future = (each[keys] for each in _first_later(memory))
    return torch.where(known_before[..., None], before, future), known_before | has_future


def _first_later(memory: ClipMemory) -> tuple[Tensor, Tensor]:
    """Returns the first embedding (T, G, C) stored after each frame, and a mask of valid ones.

    A quirk of the release is kept: if an instance is absent from exactly t of the frames after
    frame t (counted from 0), it counts as never returning, even if it returns.
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


def _background(
    embeddings: Tensor,
    matched_query: Tensor,
    present: Tensor,
    config: CtvisItemsConfig,
    draws: ItemDraws,
) -> tuple[Tensor, Tensor]:
    """Samples background queries (T, P, C) for each frame, and returns a mask of valid ones."""
    num_queries = embeddings.shape[1]
    taken = torch.zeros(embeddings.shape[:2], dtype=torch.bool, device=embeddings.device)
    rows, columns = present.nonzero(as_tuple=True)
    taken[rows, matched_query[rows, columns]] = True
    frames = torch.arange(len(embeddings), device=embeddings.device)
    is_local = config.background == "local"
    excluded = frames != frames[:, None] if is_local else frames > frames[:, None]
    # matched queries rank last, so the sample contains them only if the background is exhausted
    ranks = (draws.background + taken + 2 * excluded[..., None]).flatten(1)
    count = min(config.num_background, num_queries)
    ranked = ranks.topk(count, dim=1, largest=False, sorted=True)
    return embeddings.flatten(0, 1)[ranked.indices], ranked.values < 1
