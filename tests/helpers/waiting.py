"""A clock that a test moves, and waiting for a condition."""

import time
from collections.abc import Callable


class Clock:
    """A clock that moves only when ``now`` is set.

    Args:
        start_s: The first reading.
    """

    def __init__(self, start_s: float = 100.0) -> None:
        self.now = start_s

    def __call__(self) -> float:
        return self.now


def wait_until(condition: Callable[[], bool], limit_s: float = 10.0) -> bool:
    """Returns whether a condition holds within the limit."""
    end_s = time.monotonic() + limit_s
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.02)
    return condition()
