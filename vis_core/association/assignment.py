"""Who gets which track: scores (N, M) and a floor (N,) to a claim.

Rows are instances in the order of their score, the best first.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor


@dataclass(frozen=True)
class Claim:
    """Is what an assignment says.

    Attributes:
        row: (N,) int64 track of each instance; meaningless where ``won`` is False.
        won: (N,) bool, whether the instance goes on with that track.
        may_start: (N,) bool, whether it may start a track of its own.
    """

    row: Tensor
    won: Tensor
    may_start: Tensor


def greedy(scores: Tensor, floor: Tensor, seen: Tensor | None = None) -> Claim:
    """Lets the instances choose in order: each the best track that is left, above its floor.

    CTVIS Eq. 4, IDOL Eq. 7. Equals the loop::

        for n in range(N):
            m = argmax(scores[n, tracks that nobody took])
            if scores[n, m] > floor[n]: give m to n

    but in rounds over all instances: each asks for its best track that no earlier instance holds,
    each track goes to the earliest that asks. After round n the first n instances have what the
    loop gives them; when a round changes nothing, all have. Few rounds do unless many instances
    want the same tracks.

    Args:
        scores: (N, M) similarity.
        floor: (N,) similarity to exceed.
        seen: (M,) frames in which each track was seen: several tracks above the floor are weighed
            by it (the releases' frame weighting). None weighs nothing.
    """
    count, tracks = scores.shape
    order = torch.arange(count, device=scores.device)
    row = torch.zeros(count, dtype=torch.int64, device=scores.device)
    won = torch.zeros(count, dtype=torch.bool, device=scores.device)
    if count == 0 or tracks == 0:
        return Claim(row, won, ~won)
    holder = torch.full((tracks,), count, device=scores.device)
    while True:
        open_to = holder[None, :] >= order[:, None]  # own, free, or held by a later instance
        wish, wants = _best_track(scores.masked_fill(~open_to, 0.0), open_to, floor, seen)
        asked = torch.full_like(holder, count)
        asked.scatter_reduce_(0, wish[wants], order[wants], "amin")
        if torch.equal(asked, holder):
            won = wants & (holder[wish] == order)
            return Claim(wish, won, ~won)
        holder = asked


def _best_track(
    scores: Tensor, open_to: Tensor, floor: Tensor, seen: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Gives each instance its best open track (N,), and whether it is above the floor (N,)."""
    if seen is not None:
        above = (scores > floor[:, None]) & open_to
        several = above.sum(dim=1) > 1
        mean_seen = (above * seen).sum(dim=1) / above.sum(dim=1).clamp(min=1)
        weighed = torch.where(above, scores * seen, scores * mean_seen[:, None])
        scores = torch.where(several[:, None], weighed, scores)
    best = scores.masked_fill(~open_to, float("-inf")).max(dim=1)
    return best.indices, best.values > floor


def hungarian(scores: Tensor, floor: Tensor, seen: Tensor | None = None) -> Claim:  # noqa: ARG001
    """Makes the sum of similarities largest over all pairs (MinVIS 3.3).

    Args:
        scores: (N, M) similarity.
        floor: (N,) similarity to reach.
        seen: Not used.
    """
    row = torch.zeros(len(scores), dtype=torch.int64)
    won = torch.zeros(len(scores), dtype=torch.bool)
    values = scores.detach().double().cpu().numpy()
    instances, tracks = (torch.from_numpy(index) for index in linear_sum_assignment(-values))
    row[instances] = tracks
    won[instances] = True
    row, won = row.to(scores.device), won.to(scores.device)
    if scores.shape[1]:
        won &= scores.gather(1, row[:, None]).squeeze(1) >= floor
    return Claim(row, won, ~won)


def best_claim(scores: Tensor, floor: Tensor, seen: Tensor | None = None) -> Claim:  # noqa: ARG001
    """Lets each instance ask for its best track, and gives a track to the best that asks.

    MaskTrack R-CNN, IDOL's "multi-cues", STC 3.5. Who asks in vain gets nothing and starts
    nothing; who is not above its floor asks for none and may start. Equals the loop::

        for n in range(N):
            m = argmax(scores[n])
            if scores[n, m] <= floor[n]: n may start
            elif scores[n, m] > score of the holder of m: m goes from its holder to n

    Args:
        scores: (N, M) similarity.
        floor: (N,) similarity to exceed.
        seen: Not used.

    Differs: released mmtracking leaves a track with an earlier instance, too, when a later one
    claims it better; here the better one alone has it.
    """
    count, tracks = scores.shape
    order = torch.arange(count, device=scores.device)
    if count == 0 or tracks == 0:
        nobody = torch.zeros(count, dtype=torch.bool, device=scores.device)
        return Claim(torch.zeros_like(order), nobody, ~nobody)
    best, row = scores.max(dim=1)
    asks = best > floor
    highest = best.new_full((tracks,), float("-inf"))
    highest.scatter_reduce_(0, row[asks], best[asks], "amax")
    leads = asks & (best == highest[row])
    first = torch.full((tracks,), count, device=scores.device)
    first.scatter_reduce_(0, row[leads], order[leads], "amin")
    return Claim(row, leads & (first[row] == order), ~asks)


ASSIGNMENTS: dict[str, Callable[[Tensor, Tensor, Tensor | None], Claim]] = {
    "greedy": greedy,
    "hungarian": hungarian,
    "best_claim": best_claim,
}
