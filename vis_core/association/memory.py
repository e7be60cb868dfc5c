"""The track memory, the same in training and inference (CTVIS 3.2-3.3).

Nothing is detached: in training, gradients flow through the stored embeddings, their fusion and
its weight beta. Training updates therefore create new tensors instead of overwriting old ones.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from vis_core.config.association import AssociationConfig

_TAU = 0.5  # lower bound of the weights in IDOL Eq. 5
_EPSILON = 1e-8  # as in torch's cosine similarity
_ROWS = (
    "history", "history_norms", "history_scores", "stored", "fused", "momentum", "seen", "unseen",
)  # fmt: skip
_CUE_ROWS = ("boxes", "labels")  # only with the similarity "cues"


class MemoryBank:
    """The memory of M tracks; row m of every tensor is track m."""

    ids: Tensor  # (M,) int64 track ids, ascending
    history: Tensor  # (M, L, C) past embeddings, newest first; zeros in unused entries
    history_norms: Tensor  # (M, L) norms of these embeddings
    history_scores: Tensor  # (M, L) scores of their instances
    stored: Tensor  # (M,) number of embeddings in the history, at most L
    fused: Tensor  # (M, C) similarity-guided average (CTVIS Eq. 1)
    momentum: Tensor  # (M, C) exponential average
    seen: Tensor  # (M,) number of frames in which the track was written
    unseen: Tensor  # (M,) number of frames since the track was last written
    boxes: Tensor  # (M, 4) newest xyxy box; only with the similarity "cues"
    labels: Tensor  # (M,) newest class; only with the similarity "cues"
    next_id: int  # id of the next new track; ids are never reused

    def __init__(self, config: AssociationConfig) -> None:
        self.config = config
        self._rows = _ROWS + (_CUE_ROWS if config.similarity == "cues" else ())
        self.reset()

    def reset(self) -> None:
        """Forgets all tracks and ids."""
        self.ids = torch.zeros(0, dtype=torch.int64)
        self.next_id = 0

    def __len__(self) -> int:
        return len(self.ids)

    def state(self) -> dict[str, Tensor]:
        """Returns the tensors from which ``restore`` continues."""
        kept = {name: getattr(self, name) for name in ("ids", *self._rows)} if len(self) else {}
        return {**kept, "next_id": torch.tensor(self.next_id)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restores the ``state`` of a memory with the same config."""
        self.reset()
        self.next_id = int(state["next_id"])
        if "ids" in state:
            for name in ("ids", *self._rows):
                setattr(self, name, state[name])

    def read(self) -> Tensor:
        """Returns the (M, C) embeddings that represent the tracks in comparisons."""
        return MEMORY_READS[self.config.memory](self)

    def new_ids(self, count: int) -> Tensor:
        """Reserves the ids of ``count`` new tracks."""
        first, self.next_id = self.next_id, self.next_id + count
        return torch.arange(first, self.next_id)

    def write(
        self,
        track_ids: Tensor,
        embeddings: Tensor,
        scores: Tensor,
        boxes: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> None:
        """Stores the N tracks of one frame and ages all other tracks; unknown ids open new rows.

        Ids must be unique. The similarity "cues" requires ``boxes`` (N, 4) xyxy and ``labels``
        (N,); other similarities do not store them.
        """
        self._open_rows(track_ids, embeddings)
        rows = torch.searchsorted(self.ids, track_ids)
        past, norms = self.history[rows], embeddings.norm(dim=1)
        self._fuse(rows, embeddings, past, norms)
        for name, new, old in (
            ("history", embeddings, past),
            ("history_norms", norms, self.history_norms[rows]),
            ("history_scores", scores, self.history_scores[rows]),
        ):
            shifted = torch.cat([new[:, None], old[:, :-1]], dim=1)
            whole = getattr(self, name)
            # Gradients need the tensors of earlier frames; inference may overwrite them.
            put = whole.index_put if torch.is_grad_enabled() else whole.index_put_
            setattr(self, name, put((rows,), shifted))
        if self.config.similarity == "cues":
            self._keep_cues(rows, boxes, labels)
        hit = torch.zeros(len(self), dtype=torch.bool, device=self.ids.device)
        hit[rows] = True
        self.stored = (self.stored + hit).clamp(max=self.config.history_length)
        self.seen = self.seen + hit
        self.unseen = torch.where(hit, 0, self.unseen + 1)
        self._forget()

    def _keep_cues(self, rows: Tensor, boxes: Tensor | None, labels: Tensor | None) -> None:
        """Stores the newest box (N, 4) and class (N,) of some tracks."""
        if boxes is None or labels is None:
            raise ValueError('the similarity "cues" compares boxes, but the instances have none')
        self.boxes = self.boxes.index_put((rows,), boxes)
        self.labels = self.labels.index_put((rows,), labels)

    def _fuse(self, rows: Tensor, new: Tensor, past: Tensor, norms: Tensor) -> None:
        """Averages embeddings ``new`` (N, C) into ``fused`` (CTVIS Eq. 1-2) and ``momentum``."""
        stored = self.stored[rows]
        dots = (past @ new[:, :, None]).squeeze(2)
        lengths = (self.history_norms[rows] * norms[:, None]).clamp(min=_EPSILON)
        # Unused history entries are zeros and add nothing.
        beta = ((dots / lengths).sum(dim=1) / stored.clamp(min=1)).clamp(min=0)[:, None]
        known = (stored > 0)[:, None]
        old = self.fused[rows]
        fused = torch.where(known, (1 - beta) * old + beta * new, new)
        self.fused = self.fused.index_put((rows,), fused)
        share = self.config.newest_share
        average = (1 - share) * self.momentum[rows] + share * new
        self.momentum = self.momentum.index_put((rows,), torch.where(known, average, new))

    def _open_rows(self, track_ids: Tensor, embeddings: Tensor) -> None:
        """Adds empty rows for new ids."""
        if not len(self):
            self._start_empty(embeddings)
        fresh = track_ids[~torch.isin(track_ids, self.ids)].sort().values
        if not len(fresh):
            return
        order = torch.cat([self.ids, fresh]).argsort()
        count = len(fresh)
        self.ids = torch.cat([self.ids, fresh])[order]
        for name in self._rows:
            old = getattr(self, name)
            setattr(self, name, torch.cat([old, old.new_zeros(count, *old.shape[1:])])[order])
        self.next_id = max(self.next_id, int(fresh[-1]) + 1)

    def _start_empty(self, embeddings: Tensor) -> None:
        device, width = embeddings.device, embeddings.shape[1]
        length = self.config.history_length
        none = torch.zeros(0, dtype=torch.int64, device=device)
        self.ids, self.stored, self.seen, self.unseen = none, none, none, none
        self.history = embeddings.new_zeros(0, length, width)
        self.history_norms = embeddings.new_zeros(0, length)
        self.history_scores = embeddings.new_zeros(0, length)
        self.fused = embeddings.new_zeros(0, width)
        self.momentum = embeddings.new_zeros(0, width)
        if self.config.similarity == "cues":
            self.boxes = embeddings.new_zeros(0, 4)
            self.labels = none

    def _forget(self) -> None:
        """Drops the tracks unseen for more than ``max_unseen_frames`` frames."""
        limit = self.config.max_unseen_frames
        if limit is None or not (self.unseen > limit).any():
            return
        kept = self.unseen <= limit
        for name in ("ids", *self._rows):
            setattr(self, name, getattr(self, name)[kept])


def latest(memory: MemoryBank) -> Tensor:
    """Returns each track's newest embedding (M, C) (MinVIS, STC 3.5)."""
    return memory.history[:, 0]


def similarity_guided(memory: MemoryBank) -> Tensor:
    """Returns the (M, C) average in which embeddings similar to the past weigh more.

    CTVIS Eq. 1-2: ``e = (1 - beta) e + beta e_t``, where beta is the mean cosine of ``e_t`` with
    the stored embeddings, at least 0. The average starts from the first embedding.
    """
    return memory.fused


def momentum(memory: MemoryBank) -> Tensor:
    """Returns the (M, C) exponential average, starting from the first embedding (CTVIS release)."""
    return memory.momentum


def temporally_weighted(memory: MemoryBank) -> Tensor:
    """Averages each track's past embeddings with more weight on recent ones, to (M, C).

    IDOL Eq. 5: ``e = sum_t e_t (tau + T/t) / sum_t (tau + T/t)``; t = 1 is the newest, tau = 0.5.

    The authors' release uses other weights; see ``temporally_weighted_released``.
    """
    age = torch.arange(1, memory.history.shape[1] + 1, device=memory.ids.device)
    weights = _TAU + memory.stored[:, None] / age
    return _weighted_mean(memory, weights)


def temporally_weighted_released(memory: MemoryBank) -> Tensor:
    """Averages past embeddings weighted by score plus a linear ramp, to (M, C).

    This is the average in the IDOL and CTVIS releases. Of n stored embeddings, the oldest has
    weight ``score + 1/n`` and the newest ``score + 1``.
    """
    place = torch.arange(memory.history.shape[1], device=memory.ids.device)
    count = memory.stored[:, None].clamp(min=1)
    return _weighted_mean(memory, memory.history_scores + (count - place) / count)


def _weighted_mean(memory: MemoryBank, weights: Tensor) -> Tensor:
    """Averages the stored embeddings (M, L, C) with weights (M, L)."""
    place = torch.arange(memory.history.shape[1], device=memory.ids.device)
    weights = weights * (place < memory.stored[:, None])
    total = (memory.history * weights[:, :, None]).sum(dim=1)
    return total / weights.sum(dim=1, keepdim=True)


MEMORY_READS: dict[str, Callable[[MemoryBank], Tensor]] = {
    "latest": latest,
    "similarity_guided": similarity_guided,
    "momentum": momentum,
    "temporally_weighted": temporally_weighted,
    "temporally_weighted_released": temporally_weighted_released,
}
