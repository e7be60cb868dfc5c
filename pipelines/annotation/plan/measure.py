"""Opens a few videos from an archive and annotates the start of each, as a worker would."""

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from av.error import FFmpegError

from pipelines.annotation.archive.listing import ArchivedVideo, VideoStore
from pipelines.annotation.ledger import Ledger
from pipelines.annotation.machine_errors import is_out_of_memory, machine_errors_named
from pipelines.annotation.options import PlanRequest
from pipelines.annotation.plan.batch_speed import (
    BatchSpeeds,
    DeviceMemory,
    measure_batches,
)
from pipelines.annotation.video.segments import frames_to_annotate
from pipelines.annotation.video.whole_video import open_reader
from pipelines.annotation.worker import AnnotateJob, VideoAnnotator
from pipelines.progress import Progress
from pipelines.registry.mlflow_registry import ModelReference
from pipelines.storage.local import LocalStorage
from vis_core.errors import ConfigError, VideoDecodeError, shown_name
from vis_core.inference.frame_predictor import View
from vis_core.media.container import choose_stream, open_container
from vis_core.models.systems.build import load_system

BATCHES_S = 10.0  # after that, no larger batch is tried
BUDGET_S = 90.0  # after that, no further video is opened
_PROBE_FRAMES = 16  # or four batches if these are more


@dataclass(frozen=True)
class SampledVideo:
    """A sampled video; if it has no problem, its start was annotated."""

    video: ArchivedVideo
    problem: str = ""  # why it cannot be read
    frames_to_annotate: int = 0
    duration_s: float = 0.0  # playing time of these frames
    result_bytes: float = 0.0  # for these frames
    start_s: float = 0.0  # for the first frame, including opening and writing
    rest_s: float = 0.0  # for fetching the video and for all further frames


@dataclass
class Measured:
    """Measurements on a sample of videos."""

    device: str
    load_s: float  # time to load the model
    videos: list[SampledVideo] = field(default_factory=list)  # largest first
    batches: BatchSpeeds | None = None  # None if no video could be read
    chunk_frames: int = 1  # batch size in the probes


def choose_sample(videos: Sequence[ArchivedVideo], count: int) -> list[ArchivedVideo]:
    """Returns up to ``count`` videos: half are the largest, half are spread over other sizes."""
    by_size = sorted((v for v in videos if v.size), key=lambda video: (-video.size, video.key))
    num_largest = (count + 1) // 2
    others, num_others = by_size[num_largest:], count - num_largest
    step = max(1, -(-len(others) // max(1, num_others)))
    return [*by_size[:num_largest], *others[step // 2 :: step][:num_others]]


@dataclass
class Bench:
    """A model with the settings to measure it on a sample of videos."""

    model: ModelReference
    request: PlanRequest
    num_workers: int

    def measure(self, videos: list[ArchivedVideo], store: VideoStore) -> Measured:
        """Loads the model and annotates the videos' starts until the time budget is spent."""
        # Ray hides GPUs from workers that request none
        gpu_share = self.request.options.gpus_per_worker if torch.cuda.is_available() else 0.0
        most = max(1, int(1 / gpu_share)) if gpu_share else os.cpu_count() or 1
        self._num_sharers = min(self.num_workers, most)
        self._device = torch.device("cuda" if gpu_share else "cpu")
        num_threads, start_s = torch.get_num_threads(), time.monotonic()
        torch.set_num_threads(1)  # as in a worker
        try:
            with machine_errors_named("while it loaded the model"):
                self._system = load_system(self.model.path, self._device)
            self._measured = Measured(self._device.type, time.monotonic() - start_s)
            with Progress(len(videos), "videos", "sample") as progress:
                for video in videos:
                    with machine_errors_named(f"while it measured {video.shown}"):
                        self._measured.videos.append(self._open(video, store))
                    progress.update(1, video.shown)
                    if time.monotonic() - start_s > self._measured.load_s + BUDGET_S:
                        break
        finally:
            torch.set_num_threads(num_threads)
        return self._measured

    def _open(self, video: ArchivedVideo, store: VideoStore) -> SampledVideo:
        """Fetches a video, reads its header, and annotates its start."""
        start_s, prefix = time.monotonic(), ""
        try:
            with store.as_file(video.key, video.etag) as path:
                prefix = f"{shown_name(path)}: "
                return self._measure(video, path, time.monotonic() - start_s)
        except VideoDecodeError as error:
            return SampledVideo(video, str(error).removeprefix(prefix))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise ConfigError(
                f"inference.chunk_frames: {self._measured.chunk_frames} at once do not fit in "
                f"memory ({self._device}); give a smaller number, model or test size"
            ) from error

    def _measure(self, video: ArchivedVideo, path: Path, fetch_s: float) -> SampledVideo:
        config, max_frames = self.request.config, self.request.options.max_frames
        with open_reader(path, config, max_frames=1) as reader:
            info, image = reader.info, next(reader).image
        if frames_to_annotate(info, None, None) is None:
            info = replace(info, declared_frames=_count_packets(path))
        wanted = frames_to_annotate(info, config.sample_fps, max_frames) or 1
        if self._measured.batches is None:
            self._measure_batches(image)
        probed = min(wanted, max(_PROBE_FRAMES, 4 * self._measured.chunk_frames))
        probes = [self._probe(video, path, count) for count in sorted({1, probed})]
        (first_s, first_bytes), (last_s, last_bytes) = probes[0], probes[-1]
        rate = min(info.rate, config.sample_fps or info.rate)
        further = (wanted - 1) / max(1, probed - 1)  # times as many frames as the probe had
        return SampledVideo(
            video,
            frames_to_annotate=wanted,
            duration_s=wanted / rate if rate > 0 else 0.0,
            result_bytes=first_bytes + further * max(0, last_bytes - first_bytes),
            start_s=first_s,
            rest_s=fetch_s + further * max(0.0, last_s - first_s),
        )

    def _measure_batches(self, image: np.ndarray) -> None:
        """Measures the network's speed for each batch size, with all views."""
        systems = [view.applied_to(self._system) for view in View.of(self.request.config)]

        def run(frames: int) -> float:
            start_s = time.monotonic()
            for system in systems:
                system.segment([image] * frames)  # computes no gradients
            if self._device.type == "cuda":
                torch.cuda.synchronize()
            return time.monotonic() - start_s

        memory, measured = DeviceMemory(self._device), self._measured
        measured.batches = measure_batches(run, memory, self._num_sharers, BATCHES_S)
        measured.chunk_frames = measured.batches.allowed(self.request.config.chunk_frames)

    def _probe(self, video: ArchivedVideo, path: Path, count: int) -> tuple[float, int]:
        """Annotates ``count`` frames into a scratch folder; returns the seconds and bytes used."""
        batch = {"chunk_frames": self._measured.chunk_frames}
        config = self.request.config.model_copy(update=batch)
        options = replace(self.request.options, max_frames=count)
        with tempfile.TemporaryDirectory(prefix="longtake-") as folder:
            store, results = LocalStorage(path.parent), LocalStorage(Path(folder))
            ledger = Ledger(results, "")
            job = AnnotateJob(store, ledger, self.model, config, options, lambda _: self._system)
            annotator = VideoAnnotator(job)
            annotator.load()
            start_s = time.monotonic()
            outcome = annotator.annotate(ArchivedVideo(path.name, video.size, ""))
            if outcome.status != "done":
                raise VideoDecodeError(outcome.reason)
            return time.monotonic() - start_s, sum(entry.size for entry in results.list())


def _count_packets(path: Path) -> int:
    """Counts the packets of a video without decoding them, up to the first damaged one."""
    count = 0
    container, _ = open_container(path)
    with container, suppress(FFmpegError, IndexError):  # IndexError: see ``VideoReader``
        for packet in container.demux(choose_stream(container, path)):
            count += packet.size > 0
    return count
