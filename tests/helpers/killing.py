"""Work in child processes that are killed at a place counted in advance."""

import functools
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
# torch is imported once, by the process from which all children are forked
CONTEXT.set_forkserver_preload(["tests.helpers.training_child", "tests.helpers.annotating_child"])
# The number of places that the short form tries; LONGTAKE_KILLS=all tries every one.
KILLS = os.environ.get("LONGTAKE_KILLS", "8")


def run_child(work: Callable[..., None], *arguments: Any) -> int:
    """Runs work in a child; returns its exit code (-9 if it was killed)."""
    child = CONTEXT.Process(target=work, args=arguments)
    child.start()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def kill_places(count: int, share: float = 1.0) -> list[int]:
    """Returns places spread over all events, drawn with a fixed seed."""
    if KILLS == "all":
        return list(range(1, count + 1))
    draw = random.Random(0)
    parts = max(1, round(int(KILLS) * share))
    return [draw.randint(i * count // parts + 1, (i + 1) * count // parts) for i in range(parts)]


class Events:
    """A counter of events in a process, which it kills at one of them.

    Args:
        kill_at: The number of the last event, from 1; None means never.
        watched: Owner and name of the functions whose calls and returns are events.
    """

    def __init__(self, kill_at: int | None, watched: Iterable[tuple[Any, str]]) -> None:
        self.count = 0
        self._kill_at = kill_at
        for owner, name in watched:
            setattr(owner, name, self._watched(getattr(owner, name)))

    def write(self, folder: Path) -> None:
        """Writes the number of events of a process that was not killed."""
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
    """Returns the number of places to kill a process, after an undisturbed run."""
    return int((folder / "events").read_text())
