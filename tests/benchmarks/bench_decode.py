"""Times decoding in a separate process against decoding in this one.

Two questions: how much more do frames from the other process cost, and how much of the decoding
time does a caller notice if it computes on each frame. All variants take turns within a round, so
that other load on the machine affects all of them; ratios are medians over the rounds.

    python -m tests.benchmarks.bench_decode
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import av
import cv2
import numpy as np

from vis_core.frame import Frame
from vis_core.media.sandbox.reader import read_frames_sandboxed
from vis_core.media.video_reader import read_frames

COST_GOAL = 1.33  # plain reading in another process, relative to reading in this one
OVERLAP_GOAL = 0.95  # a caller that only computes, relative to the same with decoding


def main(argv: list[str] | None = None) -> int:
    """Prints a table for each frame size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compute-ms", type=float, nargs="*", default=[5, 10, 20])
    parser.add_argument("--video", type=Path, nargs="*", default=[], help="instead of generated")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        videos = args.video or [
            made_video(Path(folder), height, width, args.frames)
            for height, width in ((360, 640), (720, 1280))
        ]
        for video in videos:
            time_reading(video, args.rounds)
            for milliseconds in args.compute_ms:
                time_overlap(video, milliseconds, args.rounds)
    return 0


def made_video(folder: Path, height: int, width: int, count: int) -> Path:
    """Encodes a textured scene that moves as if filmed by a moving camera."""
    path = folder / f"{width}x{height}.mp4"
    scene = np.random.default_rng(0).integers(0, 255, (height // 4, width // 4, 3), np.uint8)
    scene = cv2.GaussianBlur(cv2.resize(scene, (width * 2, height * 2)), (0, 0), 3)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for index in range(count):
            top, left = index % height, 2 * index % width
            view = np.ascontiguousarray(scene[top : top + height, left : left + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode())
    return path


def time_reading(video: Path, rounds: int) -> None:
    """Prints the cost of plain reading in both variants."""
    inside, apart, count = [], [], 0
    for _ in range(rounds + 1):
        inside.append(timed(lambda: exhaust(read_frames(video))))
        apart.append(timed(lambda: exhaust(read_frames_sandboxed(video))))
    count = exhaust(read_frames(video))
    ratios = [a / b for a, b in zip(apart[1:], inside[1:], strict=True)]
    print(
        f"{video.name}, {count} frames: {statistics.median(inside[1:]) / count * 1e3:.2f} ms a"
        f" frame in process, {statistics.median(apart[1:]) / count * 1e3:.2f} ms apart; ratio"
        f" {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), goal"
        f" {COST_GOAL} at most"
    )


def time_overlap(video: Path, milliseconds: float, rounds: int) -> None:
    """Prints the speed of a caller that computes on each frame, with and without decoding."""
    work = Work(milliseconds)
    with read_frames(video) as reader:
        kept = next(reader)
        count = 1 + exhaust(reader)
    inside, apart = [], []
    for _ in range(rounds):
        alone = timed(lambda: work.on([kept] * count))
        inside.append(alone / timed(lambda: work.on(read_frames(video))))
        apart.append(alone / timed(lambda: work.on(read_frames_sandboxed(video))))
    print(
        f"  {milliseconds:g} ms of work a frame: {statistics.median(inside):.2f} of the work's own"
        f" speed in process, {statistics.median(apart):.2f} apart ({min(apart):.2f} to"
        f" {max(apart):.2f}), goal {OVERLAP_GOAL} at least"
    )


class Work:
    """A stand-in for a network: a fixed amount of arithmetic per frame on one core."""

    def __init__(self, milliseconds: float) -> None:
        self._numbers = np.random.default_rng(0).random(20_000)
        self._turns = 1
        once = min(timed(self._compute) for _ in range(200))
        self._turns = max(1, round(milliseconds / 1e3 / once))

    def on(self, frames: Iterable[Frame]) -> None:
        """Computes once for each frame."""
        for _ in frames:
            self._compute()

    def _compute(self) -> None:
        for _ in range(self._turns):
            np.sin(self._numbers)


def exhaust(frames: Iterable[Frame]) -> int:
    """Counts frames without keeping any."""
    return sum(1 for _ in frames)


def timed(work: Callable[[], object]) -> float:
    """Returns the wall-clock seconds of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    raise SystemExit(main())
