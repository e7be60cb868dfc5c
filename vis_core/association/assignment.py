"""Greedy, Hungarian and best-claim assignment of instances to tracks.

In a score matrix (N, M), rows are instances in descending order of score and columns are tracks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


@dataclass(frozen=True)
class Assignment:
    """The tracks assigned to N instances."""

    row: Tensor  # (N,) int64 track of each instance; meaningless where ``matched`` is False
    matched: Tensor  # (N,) bool, whether the instance continues its track
    may_start: Tensor  # (N,) bool, whether it may start a new track

    @classmethod
    def empty(cls, count: int, device: torch.device) -> "Assignment":
        """Returns the assignment of ``count`` instances when there are no tracks."""
        matched = torch.zeros(count, dtype=torch.bool, device=device)
        return cls(torch.zeros_like(matched, dtype=torch.int64), matched, ~matched)


def greedy(scores: Tensor, floor: Tensor, seen: Tensor | None = None) -> Assignment:
    """Assigns each instance, in order, the best remaining track above its threshold.

    CTVIS Eq. 4, IDOL Eq. 7. Equals the loop::

        for n in range(N):
            m = argmax(scores[n, tracks that are still free])
            if scores[n, m] > floor[n]: assign m to n

    The code runs in rounds over all instances instead. In a round, each instance requests its best
    track that no earlier instance holds, and the earliest request for a track wins. After round n,
    the first n instances have the loop's tracks. The rounds end when a round changes nothing; a few
    suffice unless many instances compete for the same tracks.

    Instance n and track m can match only if ``scores[n, m]`` exceeds ``floor[n]``. If an instance
    has several such scores, they are weighted by ``seen`` (M,), the number of frames in which each
    track was seen (the releases' frame weighting).
    """
    count, tracks = scores.shape
    if count == 0 or tracks == 0:
        return Assignment.empty(count, scores.device)
    order = torch.arange(count, device=scores.device)
    holder = torch.full((tracks,), count, device=scores.device)
    while True:
        is_open = holder[None, :] >= order[:, None]  # free, or held by this or a later instance
        best, requests = _best_track(scores.masked_fill(~is_open, 0.0), is_open, floor, seen)
        requested = torch.full_like(holder, count)
        requested.scatter_reduce_(0, best[requests], order[requests], "amin")
        if torch.equal(requested, holder):
            matched = requests & (holder[best] == order)
            return Assignment(best, matched, ~matched)
        holder = requested


def _best_track(
    scores: Tensor, is_open: Tensor, floor: Tensor, seen: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Returns the best open track of each instance (N,), and whether it exceeds ``floor`` (N,)."""
    if seen is not None:
        above = (scores > floor[:, None]) & is_open
        several = above.sum(dim=1) > 1
        mean_seen = (above * seen).sum(dim=1) / above.sum(dim=1).clamp(min=1)
        weighted = torch.where(above, scores * seen, scores * mean_seen[:, None])
        scores = torch.where(several[:, None], weighted, scores)
    best = scores.masked_fill(~is_open, float("-inf")).max(dim=1)
    return best.indices, best.values > floor


def hungarian(scores: Tensor, floor: Tensor, _seen: Tensor | None = None) -> Assignment:
    """Maximizes the sum of similarities (MinVIS 3.3); a match must reach ``floor`` (N,)."""
    row = torch.zeros(len(scores), dtype=torch.int64)
    matched = torch.zeros(len(scores), dtype=torch.bool)
    values = scores.detach().double().cpu().numpy()
    instances, tracks = (torch.from_numpy(index) for index in linear_sum_assignment(-values))
    row[instances] = tracks
    matched[instances] = True
    row, matched = row.to(scores.device), matched.to(scores.device)
    if scores.shape[1]:
        matched &= scores.gather(1, row[:, None]).squeeze(1) >= floor
    return Assignment(row, matched, ~matched)


def best_claim(scores: Tensor, floor: Tensor, _seen: Tensor | None = None) -> Assignment:
    """Assigns each track to the instance that claims it with the highest score.

    MaskTrack R-CNN, IDOL's "multi-cues", STC 3.5. Each instance claims its best track. An instance
    whose claim fails gets no track and may not start one; an instance whose best score is not above
    its threshold claims no track and may start one. Equals the loop::

        for n in range(N):
            m = argmax(scores[n])
            if scores[n, m] <= floor[n]: n may start
            elif scores[n, m] > score of the holder of m: m passes from its holder to n

    In the mmtracking release, an earlier instance also keeps a track that a later instance claims
    with a higher score; here only the later instance gets it.
    """
    count, tracks = scores.shape
    if count == 0 or tracks == 0:
        return Assignment.empty(count, scores.device)
    order = torch.arange(count, device=scores.device)
    best, row = scores.max(dim=1)
    claims = best > floor
    highest = best.new_full((tracks,), float("-inf"))
    highest.scatter_reduce_(0, row[claims], best[claims], "amax")
    leads = claims & (best == highest[row])
    first = torch.full((tracks,), count, device=scores.device)
    first.scatter_reduce_(0, row[leads], order[leads], "amin")
    return Assignment(row, leads & (first[row] == order), ~claims)


ASSIGNMENTS: dict[str, Callable[[Tensor, Tensor, Tensor | None], Assignment]] = {
    "greedy": greedy,
    "hungarian": hungarian,
    "best_claim": best_claim,
}
