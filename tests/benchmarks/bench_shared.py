"""Gain from batches shared by the frames of several short videos; ``make bench-shared``.

Videos per second of one worker, from files to committed results, with the shipped tiny network, for
one and for several videos at once, in alternation; and how full the batches were.
"""

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipelines.annotation.archive.listing import list_archive
from pipelines.annotation.ledger import Ledger
from pipelines.annotation.worker import AnnotateJob, VideoAnnotator
from pipelines.registry.mlflow_registry import ModelReference
from pipelines.registry.start_weights import TINY_WEIGHTS
from pipelines.storage.open import open_storage
from tests.benchmarks.bench_long import write_long_video
from vis_core.config.inference import InferenceConfig
from vis_core.inference.protocols import FrameSystem
from vis_core.models.systems.build import load_system


def run(videos: Path, out: Path, at_once: int, chunk_frames: int) -> tuple[float, float]:
    """Annotates a folder; returns seconds and the mean number of images per batch."""
    sizes: list[int] = []

    def load(folder: str) -> FrameSystem:
        system = load_system(folder)
        segment = system.segment

        def noted(images):  # type: ignore[no-untyped-def]
            sizes.append(len(images))
            return segment(images)

        system.segment = noted  # type: ignore[method-assign]
        return system

    archive = list_archive(videos)
    config = InferenceConfig(chunk_frames=chunk_frames, videos_at_once=at_once)
    model = ModelReference(TINY_WEIGHTS, "tiny", None, "d" * 64)
    ledger = Ledger(open_storage(out), "settings")
    annotator = VideoAnnotator(AnnotateJob(archive.storage, ledger, model, config, load=load))
    annotator.load()
    start_s = time.monotonic()
    with ThreadPoolExecutor(at_once) as threads:
        rows = list(threads.map(annotator.annotate, archive.videos))
    seconds = time.monotonic() - start_s
    assert all(row.status == "done" for row in rows)
    return seconds, sum(sizes) / len(sizes)


def main() -> None:
    """Takes the measurements and prints them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--frames", type=int, default=18)
    parser.add_argument("--size", type=int, nargs=2, default=[240, 320])
    parser.add_argument("--chunk-frames", type=int, default=8)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder) / "videos"
        videos.mkdir()
        for number in range(args.videos):
            write_long_video(videos / f"{number}.mp4", args.frames, tuple(args.size))
        found: dict[int, list[tuple[float, float]]] = {count: [] for count in args.at_once}
        for repeat in range(args.repeats):
            for count, times in found.items():
                out = Path(folder) / f"out{repeat}-{count}"
                times.append(run(videos, out, count, args.chunk_frames))
    print("videos at once   videos/s   images a batch")
    for count, times in found.items():
        seconds, images = min(times)
        print(f"{count:14} {args.videos / seconds:10.2f} {images:16.1f}")


if __name__ == "__main__":
    main()
