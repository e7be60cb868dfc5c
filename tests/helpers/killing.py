"""Work in processes of its own that are killed at a place counted out beforehand."""

import functools
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
# torch is imported once, by the process that all the children are forked from
CONTEXT.set_forkserver_preload(["tests.helpers.training_child", "tests.helpers.annotating_child"])
# How many places the short form tries; LONGTAKE_KILLS=all tries every one.
KILLS = os.environ.get("LONGTAKE_KILLS", "8")


def run_child(work: Callable[..., None], *arguments: Any) -> int:
    """Runs work in a child; gives its exit code (-9 if it was killed)."""
    child = CONTEXT.Process(target=work, args=arguments)
    child.start()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def kill_places(count: int, share: float = 1.0) -> list[int]:
    """Places spread over all of them, the random part with a seed."""
    if KILLS == "all":
        return list(range(1, count + 1))
    draw = random.Random(0)
    parts = max(1, round(int(KILLS) * share))
    return [draw.randint(i * count // parts + 1, (i + 1) * count // parts) for i in range(parts)]


class Events:
    """Counts what a process does, and ends it at one of these events.

    Args:
        kill_at: The event that is its last, from 1; None lets it live.
        watched: Owner and name of the functions whose calls count, before and after.
    """

    def __init__(self, kill_at: int | None, watched: Iterable[tuple[Any, str]]) -> None:
        self.count = 0
        self._kill_at = kill_at
        for owner, name in watched:
            setattr(owner, name, self._watched(getattr(owner, name)))

    def write(self, folder: Path) -> None:
        """Leaves the number of events of a process that lived."""
        (folder / "events").write_text(str(self.count))

    def _happens(self) -> None:
        self.count += 1
        if self.count == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def _watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._happens()
            result = function(*args, **kwargs)
            self._happens()
            return result

        return watched


def num_events(folder: Path) -> int:
    """How many places there were to kill a process that has run undisturbed."""
    return int((folder / "events").read_text())
