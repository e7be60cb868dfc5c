"""Makers of toy systems, as a worker would load a model; some of them end their worker."""

import os
import signal
import time
from pathlib import Path

from tests.vis_core.inference.toy import ToySystem
from vis_core.errors import CheckpointError

POISON = 245  # a frame of this grey is poison


class PoisonedSystem(ToySystem):
    """Does something bad when it sees poison."""

    def __init__(self, act):
        super().__init__()
        self.act = act

    def segment(self, images):
        if any((image > POISON - 5).all() for image in images):
            self.act()
        return super().segment(images)


def load_toy(folder):  # noqa: ARG001
    return ToySystem()


def load_that_dies_on_poison(folder):  # noqa: ARG001
    return PoisonedSystem(lambda: os.kill(os.getpid(), signal.SIGKILL))


def load_that_dies_once(folder):
    """Dies on poison, but only the first time of all workers."""

    def act():
        marker = Path(folder) / "died"
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    return PoisonedSystem(act)


def load_that_breaks_on_poison(folder):  # noqa: ARG001
    def act():
        raise RuntimeError("CUDA out of memory\nsecond line")

    return PoisonedSystem(act)


def load_that_is_refused(folder):
    raise CheckpointError(f"{folder}: weights do not fit")


def load_that_dies(folder):  # noqa: ARG001
    os.kill(os.getpid(), signal.SIGKILL)


def load_slow(folder):  # noqa: ARG001
    return SlowSystem()


class SlowSystem(ToySystem):
    """Takes its time for each frame."""

    def segment(self, images):
        time.sleep(0.2 * len(images))
        return super().segment(images)
