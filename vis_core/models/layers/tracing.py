"""Runs a network as a traced program, which needs the interpreter only to start.

Eager PyTorch comes back to the interpreter after each operation and, in a process that also decodes
and names, waits there for the other threads. A small network is some hundreds of operations of
microseconds: it waited longer than it computed. A traced program does the same operations in the
same order, so its numbers are the same, and no thread waits for another.
"""

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import repeat
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

# Tracing costs as much as some six batches, and saves a tenth to a fifth of each later one.
TRACED_AFTER = 32  # batches of one size
_MAX_PROGRAMS = 8  # sizes of which a program is kept
_WARM_UPS = 3  # calls after which the program runs as it will go on
Seen = TypeVar("Seen")
Look = Callable[[Tensor, Tensor], Seen]
_log = logging.getLogger(__name__)


class TracedNetwork:
    """Runs the network of a system, traced for the sizes of frames that come often.

    Only on a CPU: elsewhere, PyTorch joins the operations of such programs into others.

    Args:
        system: In evaluation mode. Its weights may change, its settings may not.
        traced_after: Batches of one size after which it is traced.
    """

    def __init__(self, system: nn.Module, traced_after: int = TRACED_AFTER) -> None:
        self._system = system
        self._traced_after = traced_after
        self._times: Counter[tuple[Any, ...]] = Counter()
        self._programs: dict[tuple[Any, ...], _Program | None] = {}  # None: stays eager

    def run(self, look: Look[Seen], frames: Tensor, sizes: Tensor) -> Seen:
        """Runs ``look``, a method of the system, without gradients.

        Args:
            look: Gives tensors in dataclasses, tuples and lists; which operations it does follows
                from the sizes alone.
            frames: (F, 3, H, W) uint8.
            sizes: (F, 2) int64 height and width before padding, the same for all frames.
        """
        if frames.device.type != "cpu":
            return look(frames, sizes)
        size = (look.__name__, *frames.shape, *sizes[0].tolist())
        if size not in self._programs and self._is_due(size):
            self._programs[size] = _checked_program(self._system, look, frames, sizes)
        program = self._programs.get(size)
        if program is None:
            return look(frames, sizes)
        return program.run(frames, sizes)

    def _is_due(self, size: tuple[Any, ...]) -> bool:
        if len(self._programs) >= _MAX_PROGRAMS:
            return False
        self._times[size] += 1
        return self._times[size] > self._traced_after


class _Program:
    """Is what tracing gives, and how its tensors are to be arranged."""

    def __init__(self, system: nn.Module, look: Look[Any], frames: Tensor, sizes: Tensor) -> None:
        traceable = _Traceable(system, look).eval()
        with warnings.catch_warnings():
            # of branches that depend on sizes, which are those of this program, and that the
            # successor of torch.jit.trace is another: it comes back to the interpreter or compiles
            warnings.simplefilter("ignore")
            self._traced = torch.jit.trace(traceable, (frames, sizes), check_trace=False)
        self._arrangement = traceable.arrangement

    def run(self, frames: Tensor, sizes: Tensor) -> Any:
        return _arranged(self._arrangement, iter(self._traced(frames, sizes)))


class _Traceable(nn.Module):
    """Is a method of a system as a module that takes and gives tensors."""

    def __init__(self, system: nn.Module, look: Look[Any]) -> None:
        super().__init__()
        self.system = system  # a part, so that weights are read when it runs
        self._look = look
        self._nothing = torch.empty(0)
        self.arrangement: Any = None

    def forward(self, frames: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        seen = self._look(frames, sizes)
        self.arrangement = _arranged(seen, repeat(self._nothing))
        return tuple(_tensors_of(seen))


def _checked_program(
    system: nn.Module, look: Look[Any], frames: Tensor, sizes: Tensor
) -> _Program | None:
    """Traces, and compares with what is traced; None if it cannot be or the numbers differ."""
    wanted = look(frames, sizes)
    try:
        program = _Program(system, look, frames, sizes)
        for _ in range(_WARM_UPS):
            traced = program.run(frames, sizes)
        pairs = zip(_tensors_of(wanted), _tensors_of(traced), strict=True)
        if all(torch.equal(*pair) for pair in pairs):
            return program
        reason = "it finds other numbers"
    except RuntimeError as error:
        reason = str(error)
    _log.warning(
        "frames of %d x %d pixels: the network stays eager, since traced %s",
        *frames.shape[2:],
        reason,
    )
    return None


def _tensors_of(seen: Any) -> Iterator[Tensor]:
    """Goes through the tensors in a tree of dataclasses and sequences."""
    if isinstance(seen, Tensor):
        yield seen
    for part in _parts_of(seen):
        yield from _tensors_of(part)


def _arranged(like: Any, tensors: Iterator[Tensor]) -> Any:
    """Makes a tree as ``like`` with other tensors."""
    if isinstance(like, Tensor):
        return next(tensors)
    parts = [_arranged(part, tensors) for part in _parts_of(like)]
    if is_dataclass(like) and not isinstance(like, type):
        names = [field.name for field in fields(like)]
        return replace(like, **dict(zip(names, parts, strict=True)))
    return type(like)(parts) if isinstance(like, list | tuple) else like


def _parts_of(seen: Any) -> Sequence[Any]:
    if is_dataclass(seen):
        return [getattr(seen, field.name) for field in fields(seen)]
    return seen if isinstance(seen, list | tuple) else ()
