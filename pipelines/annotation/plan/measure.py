"""Opens a few videos from an archive and annotates the start of each, as a worker would."""

import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psutil
import torch

from pipelines.annotation.archive.listing import ArchivedVideo, VideoStore
from pipelines.annotation.ledger import Ledger
from pipelines.annotation.options import PlanRequest
from pipelines.annotation.video.segments import frames_to_annotate
from pipelines.annotation.video.whole_video import open_reader
from pipelines.annotation.worker import AnnotateJob, VideoAnnotator
from pipelines.progress import Progress
from pipelines.registry.mlflow_registry import ModelReference
from pipelines.storage.local import LocalStorage
from vis_core.errors import ConfigError, VideoDecodeError
from vis_core.inference.frame_predictor import View
from vis_core.models.systems.build import load_system

BATCHES_S = 10.0  # after that, no larger batch is tried
BUDGET_S = 90.0  # after that, no further video is opened
_PROBE_FRAMES = 16  # or four batches if these are more
LARGEST = 64  # frames per batch; a worker also keeps this many decoded images
MEMORY_SHARE = 0.8  # of the free memory; the rest is for masks, run lengths and the decoder
_REPEATS = 3  # the fastest counts; the first one warms up
_GAIN = 1.05  # a larger batch must be faster by this factor to be worth its memory


@dataclass(frozen=True)
class BatchRun:
    """The speed of the network alone, and its memory use, for one batch size."""

    frames: int
    frames_per_s: float = 0.0  # 0 if memory ran out or would have run out
    peak_bytes: int = 0  # in addition to the loaded model; 0 if there is no speed
    fits: bool = False  # whether every worker on the machine can use that much


@dataclass(frozen=True)
class BatchSpeeds:
    """Measurements for increasing batch sizes; the last does not fit if memory is the limit."""

    runs: list[BatchRun]
    best: int | None  # frames of the fastest batch that fits; None if none fits

    def allowed(self, frames: int) -> int:
        """Returns ``frames``, or the largest batch known to fit in memory if that is smaller."""
        largest = max((run.frames for run in self.runs if run.fits), default=1)
        return frames if self.runs[-1].fits else min(frames, largest)


@dataclass(frozen=True)
class SampledVideo:
    """A sampled video; if it has no problem, its start was annotated."""

    video: ArchivedVideo
    problem: str = ""  # kind of failure; empty if it can be read
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
    """Returns ``count`` videos: half the largest, half spread over the sizes of the others."""
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
        """Loads the model and annotates each video's start; raises as ``plan_archive`` does."""
        # Ray hides GPUs from workers that request none
        gpu_share = self.request.options.gpus_per_worker if torch.cuda.is_available() else 0.0
        most = max(1, int(1 / gpu_share)) if gpu_share else os.cpu_count() or 1
        self._num_sharers = min(self.num_workers, most)
        self._device = torch.device("cuda" if gpu_share else "cpu")
        num_threads, start_s = torch.get_num_threads(), time.monotonic()
        torch.set_num_threads(1)  # as in a worker
        try:
            self._system = load_system(self.model.path, self._device)
            self._measured = Measured(self._device.type, time.monotonic() - start_s)
            with Progress(len(videos), "videos", "sample") as progress:
                for video in videos:
                    self._measured.videos.append(self._open(video, store))
                    progress.update(1, video.shown)
                    if time.monotonic() - start_s > self._measured.load_s + BUDGET_S:
                        break
        finally:
            torch.set_num_threads(num_threads)
        return self._measured

    def _open(self, video: ArchivedVideo, store: VideoStore) -> SampledVideo:
        """Fetches a video, reads its header, and annotates its start."""
        start_s = time.monotonic()
        try:
            with store.as_file(video.key, video.etag) as path:
                return self._measure(video, path, time.monotonic() - start_s)
        except VideoDecodeError as error:
            return SampledVideo(video, error.kind)
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
        wanted = frames_to_annotate(info, config.sample_fps, max_frames)
        if wanted is None:  # the container declares no length
            with open_reader(path, config, max_frames=max_frames) as reader:
                wanted = sum(1 for _ in reader)
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
        systems = [view.applied_to(self._system) for view in View.of(self.request.config.views)]

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


def measure_batches(
    run: Callable[[int], float], memory: "DeviceMemory", num_sharers: int, budget_s: float
) -> BatchSpeeds:
    """Doubles the batch size while speed rises and memory and time allow.

    ``run`` processes a number of frames and returns the seconds; ``num_sharers`` workers share the
    memory. A batch that would exceed the limit, judging by the previous one, is not tried: the
    system may kill a process that requests too much memory. After ``budget_s`` seconds, no further
    batch is tried. If not even one frame fits, the error is raised.
    """
    held = memory.held_bytes()
    limit = int(MEMORY_SHARE * (memory.free_bytes() + held) / num_sharers) - held
    runs: list[BatchRun] = []
    best, frames, spent_s = None, 1, 0.0
    while frames <= LARGEST and spent_s < budget_s:
        memory.reset_peak()
        try:
            if runs and 2 * runs[-1].peak_bytes > limit:
                raise MemoryError
            times_s = [run(frames) for _ in range(_REPEATS)]
        except (MemoryError, RuntimeError) as error:
            if not runs or not is_out_of_memory(error):
                raise
            runs.append(BatchRun(frames))
            break
        spent_s += sum(times_s)
        speed, need = frames / max(min(times_s), 1e-9), max(0, memory.peak_bytes() - held)
        runs.append(BatchRun(frames, speed, need, fits=need <= limit))
        if len(runs) > 1 and speed < _GAIN * runs[-2].frames_per_s:
            break
        best, frames = frames if need <= limit else best, 2 * frames
    return BatchSpeeds(runs, best)


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error means that memory ran out."""
    # PyTorch has no error class for running out of main memory
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in ("can't allocate memory", "not enough memory")
    )


class DeviceMemory:
    """The memory of a GPU, or main memory."""

    def __init__(self, device: torch.device) -> None:
        self._gpu = device if device.type == "cuda" else None

    def free_bytes(self) -> int:
        """Returns the free bytes, within the container's limit if it has one."""
        if self._gpu is None:
            return int(min(psutil.virtual_memory().available, container_free_bytes()))
        return int(torch.cuda.mem_get_info(self._gpu)[0])

    def held_bytes(self) -> int:
        """Returns the bytes in use by this process."""
        if self._gpu is None:
            return int(psutil.Process().memory_info().rss)
        torch.cuda.empty_cache()
        return int(torch.cuda.memory_reserved(self._gpu))

    def reset_peak(self) -> None:
        """Resets the peak to the bytes in use now."""
        if self._gpu is not None:
            torch.cuda.reset_peak_memory_stats(self._gpu)
            return
        with suppress(OSError):  # without a reset, the peak includes earlier ones
            Path("/proc/self/clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        """Returns this process's peak bytes in use since the last reset."""
        if self._gpu is not None:
            return int(torch.cuda.max_memory_reserved(self._gpu))
        rows = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(row.split()[1]) for row in rows if row.startswith("VmHWM:"))


def container_free_bytes(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Returns the bytes that the container may still use (cgroup v2, or v1); inf if unlimited."""
    v2, v1 = (root, "max", "current"), (root / "memory", "limit_in_bytes", "usage_in_bytes")
    for folder, limit, used in (v2, v1):
        with suppress(OSError, ValueError):  # no such file, or "max"
            free = int((folder / f"memory.{limit}").read_text())
            free -= int((folder / f"memory.{used}").read_text())
            rows = map(str.split, (folder / "memory.stat").read_text().splitlines())
            # cached files count as used, but are dropped when memory is needed
            return max(0, free + sum(int(size) for name, size in rows if name == "inactive_file"))
    return math.inf
