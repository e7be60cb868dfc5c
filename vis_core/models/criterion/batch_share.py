"""Counts over a whole batch, by which each of its workers and parts divides its losses.

A share of a batch is one part on one worker. Gradients are averaged over the shares. With these
divisors, the average is the gradient of the joint batch, however unevenly instances are spread.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, distributed

# Returns the sum of counts over the shares of a batch, and the number of shares.
_Sum = Callable[[Tensor], tuple[Tensor, int]]


def _over_workers(counts: Tensor) -> tuple[Tensor, int]:
    if not distributed.is_available() or not distributed.is_initialized():
        return counts, 1
    total = counts.detach().clone()
    distributed.all_reduce(total)
    return total, distributed.get_world_size()


_sum: ContextVar[_Sum] = ContextVar("sum", default=_over_workers)


def batch_count(counts: Tensor) -> Tensor:
    """Averages counts over the shares of a batch, after raising sums below 1 to 1.

    Workers exchange counts in this function and in ``batch_share``, so in a step all workers must
    make the same calls, even without instances.
    """
    total, num_shares = _sum.get()(counts)
    return total.clamp(min=1) / num_shares


def batch_share(counts: Tensor) -> Tensor:
    """Divides counts by their average over the shares of a batch; 0 / 0 is 0.

    A loss that is a mean over a share's own items is multiplied by this quotient; the average over
    the shares is then the mean over the whole batch. With a single share, the quotient is 1.
    """
    total, num_shares = _sum.get()(counts)
    return counts * num_shares / total.clamp(min=torch.finfo(counts.dtype).tiny)


@contextmanager
def recorded_counts() -> Iterator[list[Tensor]]:
    """Records the counts of one part in the order of the calls; workers exchange nothing."""
    recorded: list[Tensor] = []

    def record(counts: Tensor) -> tuple[Tensor, int]:
        recorded.append(counts)
        return counts, 1

    with _summed_by(record):
        yield recorded


def sums_over_parts(parts: Sequence[Sequence[Tensor]]) -> list[tuple[Tensor, int]]:
    """Adds up the recorded counts of all parts and workers, call by call."""
    sums = [_over_workers(torch.stack(calls).sum(0)) for calls in zip(*parts, strict=True)]
    return [(total, workers * len(parts)) for total, workers in sums]


@contextmanager
def known_sums(sums: Sequence[tuple[Tensor, int]]) -> Iterator[None]:
    """Makes the calls of one part return sums that are already known."""
    remaining = iter(sums)
    with _summed_by(lambda counts: next(remaining)):  # noqa: ARG005
        yield


@contextmanager
def _summed_by(source: _Sum) -> Iterator[None]:
    token = _sum.set(source)
    try:
        yield
    finally:
        _sum.reset(token)
