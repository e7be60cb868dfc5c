"""Several annotations share one network without affecting each other."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.helpers.toy_system import COLOURS, ToySystem, square_frames
from vis_core.inference.batching import SharedNetwork
from vis_core.inference.online import annotate_video


class WatchedSystem(ToySystem):
    """A system that records its batches, blocks until released, and rejects black images."""

    def __init__(self):
        super().__init__()
        self.batches = []
        self.go_on = threading.Event()

    def segment(self, images):
        self.batches.append([image.shape for image in images])
        assert self.go_on.wait(30)
        if any((image == 0).all() for image in images):
            raise RuntimeError("all is black")
        return super().segment(images)


def image(label, height=32):
    pixels = np.full((height, 48, 3), 128, np.uint8)
    pixels[:8, :8] = COLOURS[label]
    return pixels


def asked_together(network, system, wishes):
    """Sends requests from threads while the first blocks; returns the answers or error messages."""

    def ask(images):
        try:
            return [found.labels.tolist() for found in network.segment(images)]
        except RuntimeError as error:
            return str(error)

    with ThreadPoolExecutor(len(wishes)) as threads:
        answers = []
        for count, images in enumerate(wishes, 1):
            answers.append(threads.submit(ask, images))
            waiting = sum(len(wish) for wish in wishes[:count]) - len(wishes[0][:4])
            for _ in range(3000):
                if system.batches and len(network._waiting) == waiting:
                    break
                threading.Event().wait(0.01)
        system.go_on.set()
        return [answer.result(30) for answer in answers]


def test_each_asker_gets_its_own_from_batches_that_are_full():
    system = WatchedSystem()
    network = SharedNetwork(system, 4)
    wishes = [[image(0)], [image(1), image(2), image(1)], [image(2), image(0)], [image(1, 64)]]
    found = asked_together(network, system, wishes)
    assert found == [[[0]], [[1], [2], [1]], [[2], [0]], [[1]]]
    sizes = [len(batch) for batch in system.batches]
    assert sizes[:2] == [1, 4] and sum(sizes) == 7
    assert all(len(set(batch)) == 1 for batch in system.batches)
    assert network.segment([]) == []


def test_what_fails_is_told_to_whoever_asked_for_it_alone():
    system = WatchedSystem()
    network = SharedNetwork(system, 4)
    black = np.zeros_like(image(0))
    found = asked_together(network, system, [[image(0)], [image(1)], [black, black], [image(2)]])
    assert found == [[[0]], [[1]], "all is black", [[2]]]
    assert network.segment([image(1)])[0].labels.tolist() == [1]


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_walks_at_once_give_what_each_gives_alone(batch):
    lengths = (5, 9, 13, 7)
    alone = [annotate_video(ToySystem(), square_frames(length), 2) for length in lengths]
    network = SharedNetwork(ToySystem(), batch)
    with ThreadPoolExecutor(len(lengths)) as threads:
        results = [
            threads.submit(annotate_video, network, square_frames(length), 2) for length in lengths
        ]
        shared = [future.result() for future in results]
    assert [repr(result) for result in shared] == [repr(result) for result in alone]
