"""Memory and speed of the annotation loop on long videos; ``make bench-long``.

The real loop (sandboxed decoding, association, run lengths, states, Parquet, commit) with a frame
model that costs nothing: two videos of the same scenes, one a hundred times as long, each in its
own process. And with real networks, the shipped tiny one or ResNet-50 systems with random weights
that keep ten instances per frame (``--speed-model stc ctvis``): frames per second from file to
committed result, over those of the network alone on the same batches in the same process.
"""

import argparse
import json
import multiprocessing
import tempfile
import threading
import time
from pathlib import Path

import av
import numpy as np

from pipelines.annotation.archive.listing import list_archive
from pipelines.annotation.ledger import Ledger
from pipelines.annotation.options import AnnotateOptions
from pipelines.annotation.worker import AnnotateJob, VideoAnnotator
from pipelines.registry.mlflow_registry import ModelReference
from pipelines.registry.start_weights import TINY_WEIGHTS
from pipelines.storage.open import open_storage
from tests.helpers.toy_archive import outcome, toy_model
from tests.helpers.toy_loaders import load_moving
from vis_core.config.inference import InferenceConfig
from vis_core.media.video_reader import read_frames

HEIGHT, WIDTH = 48, 64
_MIB = 1 << 20
REPEATS = 4


def write_long_video(path: Path, num_frames: int, size: tuple[int, int]) -> None:
    """Writes a video of wandering squares, cheap to encode and to decode."""
    height, width = size
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "crf": "18", "g": "250"}
        stream = container.add_stream("libx264", rate=30, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for index in range(num_frames):
            image = np.full((height, width, 3), 60, np.uint8)
            for number in range(5):
                top = (number * height // 5) % height
                left = (index * (number + 1) // 3) % width
                image[top : top + height // 8, left : left + width // 6] = 50 * number
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def resident_bytes() -> int:
    """Returns the resident memory of this process."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096


def annotate_measured(
    folder: str, segments: int, stitched: bool, sent: "multiprocessing.Queue[dict[str, float]]"
) -> None:
    """Annotates a folder's video; sends frames, seconds and peak memory of this process."""
    root = Path(folder)
    archive = list_archive(root / "videos")
    ledger = Ledger(open_storage(root / "out"), "settings")
    model = toy_model(root / "model")
    options = AnnotateOptions(join="stitched" if stitched else "exact")
    job = AnnotateJob(archive.storage, ledger, model, InferenceConfig(), options, load_moving)
    annotator = VideoAnnotator(job)
    annotator.load()
    peak, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            peak[0] = max(peak[0], resident_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start_s = time.monotonic()
    row = outcome(annotator, archive.videos[0], segments, stitched)
    seconds = time.monotonic() - start_s
    ended.set()
    watcher.join()
    assert row.status == "done", row.reason
    sent.put({"frames": row.num_frames, "seconds": seconds, "peak_mib": peak[0] / _MIB})


def measure_length(num_frames: int, segments: int = 1, stitched: bool = False) -> dict[str, float]:
    """Annotates a video of the given length in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder) / "videos"
        videos.mkdir()
        write_long_video(videos / "long.mp4", num_frames, (HEIGHT, WIDTH))
        context = multiprocessing.get_context("spawn")
        sent: multiprocessing.Queue[dict[str, float]] = context.Queue()
        child = context.Process(target=annotate_measured, args=(folder, segments, stitched, sent))
        child.start()
        found = sent.get()
        child.join()
        result_bytes = sum(p.stat().st_size for p in (Path(folder) / "out").rglob("*.parquet"))
    return {**found, "bytes_a_frame": result_bytes / num_frames}


def write_large_model(name: str, size: tuple[int, int], folder: Path, device: str) -> Path:
    """Creates the model folder of a system with ResNet-50 that keeps frames at their own size."""
    from tests.benchmarks.bench_systems import SYSTEMS, build, keeping
    from vis_core.clips.scenes import CLASS_NAMES, render_scene
    from vis_core.config.clips import SceneSettings
    from vis_core.formats.categories import numbered
    from vis_core.models.systems.build import save_system

    image = render_scene(SceneSettings(height=size[0], width=size[1]), 1, 89).images[0]
    system = keeping(build(SYSTEMS[name], size[0], device), image, 10)
    save_system(folder, system, numbered(CLASS_NAMES))
    return folder


def measure_speed(name: str, num_frames: int, size: tuple[int, int]) -> dict[str, float]:
    """Measures frames per second of a network alone, and from file to committed result."""
    import torch

    from vis_core.models.systems.build import load_system

    # the device on which a worker loads it
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder) / "videos"
        videos.mkdir()
        for repeat in range(REPEATS):
            write_long_video(videos / f"{repeat}.mp4", num_frames, size)
        archive = list_archive(videos)
        root = Path(folder) / "model"
        path = TINY_WEIGHTS if name == "tiny" else write_large_model(name, size, root, device)
        model = ModelReference(path, name, None, "d" * 64)
        config = InferenceConfig()
        torch.set_num_threads(1)
        with read_frames(videos / "0.mp4") as reader:
            images = [frame.image for frame in reader]
        system = load_system(path, device)
        ledger = Ledger(open_storage(Path(folder) / "out"), "settings")
        annotator = VideoAnnotator(
            AnnotateJob(archive.storage, ledger, model, config, load=lambda _: system)
        )
        annotator.load()
        chunk = config.chunk_frames
        alone_s, whole_s = [], []
        for video in archive.videos:
            start_s = time.monotonic()
            with torch.inference_mode():
                for first in range(0, num_frames, chunk):
                    system.segment(images[first : first + chunk])
            if device == "cuda":
                torch.cuda.synchronize()
            alone_s.append(time.monotonic() - start_s)
            start_s = time.monotonic()
            row = annotator.annotate(video)
            whole_s.append(time.monotonic() - start_s)
            assert row.num_frames == num_frames
    alone, whole = num_frames / min(alone_s), num_frames / min(whole_s)
    return {"network_fps": alone, "end_to_end_fps": whole, "share": whole / alone}


def main() -> None:
    """Takes the measurements and prints them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="*", default=[1_000, 100_000])
    parser.add_argument("--segments", type=int, default=1, help="processed in sequence")
    parser.add_argument("--stitched", action="store_true", help="associate them separately")
    parser.add_argument("--speed-model", nargs="*", default=["tiny"], help="tiny, ctvis, stc, ...")
    parser.add_argument("--speed-frames", type=int, default=200)
    parser.add_argument("--speed-size", type=int, nargs=2, default=[360, 640])
    args = parser.parse_args()
    if args.frames:
        short, long = (measure_length(count, args.segments, args.stitched) for count in args.frames)
        ratio = long["peak_mib"] / short["peak_mib"]
        print(json.dumps({"short": short, "long": long, "memory_ratio": ratio}))
        print(f"peak memory, long over short: {ratio:.3f} (goal 1.1)")
    for name in args.speed_model:
        speed = measure_speed(name, args.speed_frames, tuple(args.speed_size))
        print(json.dumps({"model": name, **speed}))
        print(f"{name}: end to end over network alone: {speed['share']:.3f} (goal 0.9)")


if __name__ == "__main__":
    main()
