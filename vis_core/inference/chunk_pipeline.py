"""Runs a video's reading, network and association as a pipeline of chunks."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Protocol

import torch

from vis_core.inference.gpu import SecondStream
from vis_core.structures import Frame, Instances


class ChunkStage(Protocol):
    """A stage that processes a video a few frames at a time, in two overlapping steps."""

    def predict(self, chunk: list[Frame]) -> list[Instances]:
        """Predicts the instances of some frames, which pass through the network together."""

    def associate(self, chunk: list[Frame], predicted: list[Instances]) -> None:
        """Processes the predictions for the next frames."""


def run_chunked(
    frames: Iterator[Frame],
    chunk_frames: int,
    stages: Sequence[ChunkStage],
    after: Callable[[Frame], None] | None = None,
) -> None:
    """Runs all stages over a video, a few frames at a time.

    While the network processes a chunk, a second thread associates and encodes the previous chunk,
    and a third thread reads the next one, so at most three chunks are in memory. ``after`` is
    called with a chunk's last frame once all stages have associated the chunk.
    """
    stream = SecondStream()

    def associate(
        chunk: list[Frame], predicted: list[list[Instances]], event: torch.cuda.Event | None
    ) -> None:
        with torch.inference_mode(), stream.after(event):
            for stage, instances in zip(stages, predicted, strict=True):
                stage.associate(chunk, instances)
        if after is not None:
            after(chunk[-1])

    with (
        ThreadPoolExecutor(1, "longtake-read") as reader,
        ThreadPoolExecutor(1, "longtake-associate") as associator,
    ):
        previous: Future[None] | None = None
        following = reader.submit(list, islice(frames, chunk_frames))
        while chunk := following.result():
            following = reader.submit(list, islice(frames, chunk_frames))
            with torch.inference_mode():
                predicted = [stage.predict(chunk) for stage in stages]
            if previous is not None:
                previous.result()
            previous = associator.submit(associate, chunk, predicted, stream.record(predicted))
        if previous is not None:
            previous.result()
