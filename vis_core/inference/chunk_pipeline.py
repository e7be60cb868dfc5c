"""Runs the network and the association of a video as a pipeline of chunks."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Protocol

import torch

from vis_core.inference.gpu import SecondStream
from vis_core.structures import Frame, Instances


class ChunkStage(Protocol):
    """Goes through a video some frames at a time, in two steps that overlap."""

    def predict(self, chunk: list[Frame]) -> list[Instances]:
        """Finds the instances of some frames, which go through the network at once."""

    def associate(self, chunk: list[Frame], found: list[Instances]) -> None:
        """Goes on by some frames in which ``predict`` found something."""


def run_chunked(
    frames: Iterator[Frame],
    chunk_frames: int,
    walks: Sequence[ChunkStage],
    after: Callable[[Frame], None] | None = None,
) -> None:
    """Takes walks through a video together, some frames at a time.

    While the network looks at some frames, the instances of those before are named and written in
    a second thread, and those that follow are read in a third: no more than three chunks are in
    memory.

    Args:
        frames: What is left of the video; asked in a thread of its own.
        chunk_frames: Frames that go through the network at once.
        walks: Are told of all frames.
        after: Is called with the last frame of each chunk when all walks have named it.
    """
    stream = SecondStream()

    def name(
        chunk: list[Frame], found: list[list[Instances]], done: torch.cuda.Event | None
    ) -> None:
        with torch.inference_mode(), stream.after(done):
            for walk, own in zip(walks, found, strict=True):
                walk.associate(chunk, own)
        if after is not None:
            after(chunk[-1])

    def read() -> list[Frame]:
        return list(islice(frames, chunk_frames))

    with (
        ThreadPoolExecutor(1, "longtake-reads") as third,
        ThreadPoolExecutor(1, "longtake-names") as second,
    ):
        before: Future[None] | None = None
        following = third.submit(read)
        while chunk := following.result():
            following = third.submit(read)
            with torch.inference_mode():
                found = [walk.predict(chunk) for walk in walks]
            if before is not None:
                before.result()
            before = second.submit(name, chunk, found, stream.mark(found))
        if before is not None:
            before.result()
