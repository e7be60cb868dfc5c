"""Loaders of toy systems in place of a worker's models; some of them kill their worker."""

import json
import os
import resource
import signal
import tempfile
import time
from pathlib import Path

import torch

from tests.helpers.toy_system import ToySystem
from vis_core.association.associator import Associator
from vis_core.config.association import AssociationConfig
from vis_core.errors import CheckpointError
from vis_core.structures import Instances

POISON = 245  # a frame of this grey is poison


class PoisonedSystem(ToySystem):
    """A system that misbehaves on a poisoned frame."""

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
    """Loads a system that dies on poison, but only the first time among all workers."""

    def act():
        marker = Path(folder) / "died"
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    return PoisonedSystem(act)


def load_with_gpu_error_on_poison(folder):  # noqa: ARG001
    def act():
        raise RuntimeError("CUDA error: an illegal memory access\nsecond line")

    return PoisonedSystem(act)


def load_that_breaks_on_poison(folder):  # noqa: ARG001
    def act():
        raise ValueError("no such shape\nsecond line")

    return PoisonedSystem(act)


def load_that_is_refused(folder):
    raise CheckpointError(f"{folder}: weights do not fit")


def load_that_dies(folder):  # noqa: ARG001
    os.kill(os.getpid(), signal.SIGKILL)


def load_slow(folder):  # noqa: ARG001
    return SlowSystem()


class SlowSystem(ToySystem):
    """A system that is slow on each frame."""

    def segment(self, images):
        time.sleep(0.2 * len(images))
        return super().segment(images)


class MovingSystem(ToySystem):
    """A system that predicts five wandering objects, whatever the frame shows; nearly free."""

    def __init__(self):
        super().__init__()
        self.first = 0

    def segment(self, images):
        found = [self._wandering(image.shape[:2], self.first + n) for n, image in enumerate(images)]
        self.first += len(images)
        return found

    def new_associator(self):
        self.first = 0
        return Associator(AssociationConfig())

    def _wandering(self, size, frame):
        padded = self.input_size(*size)
        logits = torch.full((5, padded.padded_height // 4, padded.padded_width // 4), -4.0)
        for row in range(5):
            left = (frame * (row + 1) // 3) % (logits.shape[2] - 2)
            logits[row, row * 2 : row * 2 + 2, left : left + 3] = 4.0
        scores = torch.full((5, 3), 0.05)
        scores[torch.arange(5), torch.arange(5) % 3] = 0.9
        return Instances(torch.full((5,), 0.9), scores, logits, 10 * torch.eye(5))


class RememberingSystem(ToySystem):
    """A system with embeddings by colour, associated as in real systems."""

    def new_associator(self):
        return Associator(AssociationConfig())


def load_remembering(folder):  # noqa: ARG001
    return RememberingSystem()


def load_that_remembers_on_a_small_machine(folder):
    """Loads a system in a process with the temporary folder and limits of limits.json."""
    limits = json.loads((Path(folder) / "limits.json").read_text())
    tempfile.tempdir = limits.pop("tempdir", tempfile.gettempdir())
    for name, value in limits.items():
        limit = getattr(resource, name)
        resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))
    return RememberingSystem()


def load_with_full_nodes(folder):
    """Loads a slow system; the nodes of nodes.json have no temporary folder."""
    import ray

    nodes = json.loads((Path(folder) / "nodes.json").read_text())
    if ray.get_runtime_context().get_node_id() in nodes:
        tempfile.tempdir = "/removed/folder"
    return SlowSystem()


def load_moving(folder):  # noqa: ARG001
    return MovingSystem()


class CountedSystem(SlowSystem):
    """A slow system that records each video that it begins."""

    def __init__(self, folder):
        super().__init__()
        self.begun = Path(folder) / "begun"

    def new_associator(self):
        with self.begun.open("a") as file:
            file.write("begun\n")
        return super().new_associator()


def load_counted(folder):
    return CountedSystem(folder)


class ActingSystem(ToySystem):
    """A system that acts once, when it is given the frames after the first ``after`` ones."""

    def __init__(self, act, after=0):
        super().__init__()
        self.act, self.after = act, after

    def segment(self, images):
        if self.act is not None and sum(self.chunk_sizes) >= self.after:
            act, self.act = self.act, None
            act()
        return super().segment(images)
