"""Opens a few videos of an archive and annotates the start of each, as a worker would."""

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from av.error import FFmpegError

from pipelines.annotation.archive.listing import ArchivedVideo, VideoStore
from pipelines.annotation.ledger import Ledger
from pipelines.annotation.plan.batch_speed import (
    BatchSpeeds,
    DeviceMemory,
    is_out_of_memory,
    measure_batches,
)
from pipelines.annotation.plan.request import PlanRequest
from pipelines.annotation.video.segments import frames_to_annotate
from pipelines.annotation.worker import AnnotateJob, LoadSystem, VideoAnnotator
from pipelines.progress import Progress
from pipelines.registry.mlflow_registry import ModelReference
from pipelines.storage.local import LocalStorage
from vis_core.errors import ConfigError, VideoDecodeError, shown_name
from vis_core.inference.frame_predictor import View
from vis_core.inference.protocols import FrameSystem
from vis_core.media.container import choose_stream, open_container
from vis_core.media.sandbox.reader import read_frames_sandboxed
from vis_core.models.systems.build import load_system

if TYPE_CHECKING:
    import numpy as np

BATCHES_S = 20.0  # for all numbers of frames at once
PROBES_S = 60.0  # for all probes; no further video is opened after it
_PROBE_CHUNKS = 4
_PROBE_FRAMES = 16


@dataclass(frozen=True)
class SampledVideo:
    """An opened video.

    Attributes:
        video: The video.
        problem: Why it cannot be read; empty if it can.
        frames_to_annotate: Frames that the settings leave of it.
        duration_s: Seconds that these frames play.
        height: Pixels of a frame.
        width: Pixels of a frame.
        fetch_s: Seconds to download it.
        start_s: Seconds to annotate its first frame, opening and writing included.
        frame_s: Seconds per further frame.
        frame_bytes: Bytes of the result per further frame.
        probed_frames: Frames that were annotated to measure this.
    """

    video: ArchivedVideo
    problem: str = ""
    frames_to_annotate: int = 0
    duration_s: float = 0.0
    height: int = 0
    width: int = 0
    fetch_s: float = 0.0
    start_s: float = 0.0
    frame_s: float = 0.0
    frame_bytes: float = 0.0
    probed_frames: int = 0

    @property
    def seconds(self) -> float:
        """Seconds that one worker needs for the whole video, without its start."""
        return self.fetch_s + self.frame_s * max(0, self.frames_to_annotate - 1)


@dataclass
class Measured:
    """The measurements of a sample.

    Attributes:
        device: Where the model ran ("cpu", "cuda").
        load_s: Seconds to load the model.
        videos: The opened videos, largest first.
        batches: Speeds per number of frames at once; None if no video could be read.
        chunk_frames: Frames at once in the probes.
    """

    device: str
    load_s: float
    videos: list[SampledVideo] = field(default_factory=list)
    batches: BatchSpeeds | None = None
    chunk_frames: int = 0

    @property
    def readable(self) -> list[SampledVideo]:
        """The videos that can be read."""
        return [row for row in self.videos if not row.problem]


def choose_sample(videos: Sequence[ArchivedVideo], count: int) -> list[ArchivedVideo]:
    """Returns the largest videos and every n-th of the others by size; empty files are left out."""
    by_size = sorted((v for v in videos if v.size), key=lambda video: (-video.size, video.key))
    num_largest = (count + 1) // 2
    others, num_others = by_size[num_largest:], count - num_largest
    step = max(1, -(-len(others) // max(1, num_others)))
    return [*by_size[:num_largest], *others[step // 2 :: step][:num_others]]


def measure_sample(
    videos: list[ArchivedVideo],
    store: VideoStore,
    model: ModelReference,
    request: PlanRequest,
    num_workers: int,
    load: LoadSystem | None,
    clock: Callable[[], float],
) -> Measured:
    """Loads the model and annotates the start of each video.

    Raises:
        ConfigError: One frame does not fit in memory.
        CheckpointError: The model cannot be loaded.
        StorageError: A video cannot be fetched.
    """
    # Ray hides the GPUs from workers that ask for none
    gpu_share = request.options.gpus_per_worker if torch.cuda.is_available() else 0.0
    device = torch.device("cuda" if gpu_share > 0 else "cpu")
    most = max(1, int(1 / gpu_share)) if gpu_share else os.cpu_count() or 1
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    try:
        start_s = clock()
        system = load(str(model.path)) if load else load_system(model.path, device)
        measured = Measured(device.type, clock() - start_s)
        bench = _Bench(system, model, request, measured, min(num_workers, most), clock)
        deadline_s = clock() + BATCHES_S + PROBES_S
        with Progress(len(videos), "videos", "sample") as progress:
            for video in videos:
                if measured.videos and clock() > deadline_s:
                    break
                measured.videos.append(bench.open(video, store))
                progress.update(1, video.shown)
    finally:
        torch.set_num_threads(num_threads)
    return measured


@dataclass
class _Bench:
    """A loaded model that is measured on one video after the other."""

    system: FrameSystem
    model: ModelReference
    request: PlanRequest
    measured: Measured
    num_sharers: int
    clock: Callable[[], float]

    def open(self, video: ArchivedVideo, store: VideoStore) -> SampledVideo:
        """Fetches a video, reads its header, and annotates its start."""
        config, max_frames = self.request.config, self.request.options.max_frames
        start_s, prefix = self.clock(), ""
        try:
            with store.as_file(video.key, video.etag) as path:
                fetch_s, prefix = self.clock() - start_s, f"{shown_name(path)}: "
                with read_frames_sandboxed(path, max_frames=1, limits=config.decoding) as reader:
                    info, image = reader.info, next(reader).image
                if frames_to_annotate(info, None, None) is None:
                    info = replace(info, declared_frames=_count_packets(path))
                wanted = frames_to_annotate(info, config.sample_fps, max_frames) or 1
                if self.measured.batches is None:
                    self._measure_batches(image)
                row = self._probe(video, path, wanted)
        except VideoDecodeError as error:
            return SampledVideo(video, str(error).removeprefix(prefix))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise ConfigError(
                f"inference.chunk_frames: {self.measured.chunk_frames} frames at once run out of "
                f"memory ({self.measured.device}); give a smaller number"
            ) from error
        if row.problem:
            return row
        rate = min(info.rate, config.sample_fps or info.rate)
        return replace(
            row,
            frames_to_annotate=wanted,
            duration_s=wanted / rate if rate > 0 else 0.0,
            height=info.height,
            width=info.width,
            fetch_s=fetch_s,
        )

    def _measure_batches(self, image: "np.ndarray") -> None:
        """Measures the speed of the network per number of frames, each in all views."""
        systems = [view.applied_to(self.system) for view in View.of(self.request.config.views)]
        device = torch.device(self.measured.device)

        def run(frames: int) -> None:
            with torch.inference_mode():
                for system in systems:
                    system.segment([image] * frames)
            if device.type == "cuda":
                torch.cuda.synchronize()

        batches = measure_batches(
            run, DeviceMemory(device), self.clock, self.num_sharers, BATCHES_S
        )
        if batches.runs[0].out_of_memory:
            height, width = image.shape[:2]
            raise ConfigError(
                f"--model: one frame of {width} x {height} pixels does not fit in the memory of "
                f"this machine ({device.type}); give a smaller model, a smaller test size, or a "
                "larger machine"
            )
        self.measured.batches = batches
        self.measured.chunk_frames = batches.allowed(self.request.config.chunk_frames)

    def _probe(self, video: ArchivedVideo, path: Path, wanted: int) -> SampledVideo:
        """Annotates the first frame of a video, then its first frames, into a scratch folder."""
        most = max(_PROBE_FRAMES, _PROBE_CHUNKS * self.measured.chunk_frames)
        counts = sorted({1, min(wanted, most)})
        seconds, sizes = [], []
        for count in counts:
            with tempfile.TemporaryDirectory(prefix="longtake-") as folder:
                results = LocalStorage(Path(folder))
                annotator = self._annotator(path, results, count)
                start_s = self.clock()
                outcome = annotator.annotate(ArchivedVideo(path.name, video.size, ""))
                seconds.append(self.clock() - start_s)
                sizes.append(sum(entry.size for entry in results.list()))
            if outcome.status != "done":
                return SampledVideo(video, outcome.reason)
        further = max(1, counts[-1] - 1)
        return SampledVideo(
            video,
            start_s=seconds[0],
            frame_s=max(0.0, seconds[-1] - seconds[0]) / further,
            frame_bytes=max(0, sizes[-1] - sizes[0]) / further,
            probed_frames=counts[-1],
        )

    def _annotator(self, path: Path, results: LocalStorage, count: int) -> VideoAnnotator:
        config = self.request.config.model_copy(update={"chunk_frames": self.measured.chunk_frames})
        options = replace(self.request.options, max_frames=count)
        store, ledger = LocalStorage(path.parent), Ledger(results, "")
        job = AnnotateJob(store, ledger, self.model, config, options, lambda _: self.system)
        annotator = VideoAnnotator(job)
        annotator.load()
        return annotator


def _count_packets(path: Path) -> int:
    """Counts the packets of a video without decoding them, up to the first damaged one."""
    count = 0
    container, _ = open_container(path)
    with container:
        try:
            for packet in container.demux(choose_stream(container, path)):
                count += packet.size > 0
        except (FFmpegError, IndexError):  # see ``VideoReader`` for the second
            pass
    return count
