"""Opens the videos of a sample one by one and measures a model on them; nothing is kept."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pipelines.annotation.archive.listing import ArchivedVideo, VideoStore
from pipelines.annotation.plan.batch_speed import BatchSpeeds, is_out_of_memory, measure_batches
from pipelines.annotation.plan.device_memory import memory_of
from pipelines.annotation.plan.probe import Probe, VideoFacts, probe_video, read_facts
from pipelines.annotation.plan.sampling import ArchiveSample
from pipelines.progress import Progress
from pipelines.registry.mlflow_registry import ModelReference
from vis_core.errors import ConfigError, VideoDecodeError, shown_name
from vis_core.formats.categories import Categories
from vis_core.inference.frame_predictor import View
from vis_core.inference.protocols import FrameSystem
from vis_core.models.systems.build import load_system, read_categories

if TYPE_CHECKING:
    from pipelines.annotation.plan.request import PlanRequest

LoadSystem = Callable[[str], FrameSystem]
BATCHES_S = 20.0  # of trying how many frames at once
WALKS_S = 60.0  # of walking through all videos of the sample
_WALKED_CHUNKS = 4  # of a video: the first ones also warm up its decoder
_WALKED_FRAMES = 16
_IMAGES = 4  # kept of a video to try batches with; larger batches show them again


@dataclass(frozen=True)
class SampledVideo:
    """Is one opened video.

    Attributes:
        video: The video.
        problem: Why it cannot be read; empty if it can.
        num_frames: In the file.
        frames_to_annotate: What the settings leave of them.
        duration_s: Seconds that it plays, up to the last frame that the settings leave.
        height: Pixels of the shown frame.
        width: Pixels of the shown frame.
        fetch_s: What bringing it here took.
        walk: The walk through its start; None if there was no time for it.
    """

    video: ArchivedVideo
    problem: str = ""
    num_frames: int = 0
    frames_to_annotate: int = 0
    duration_s: float = 0.0
    height: int = 0
    width: int = 0
    fetch_s: float = 0.0
    walk: Probe | None = None


@dataclass
class Measured:
    """Is what a sample told.

    Attributes:
        device: Where the model ran ("cpu", "cuda").
        load_s: What loading the model took.
        videos: In the order of the draw.
        batches: Frames at once; None if no video could be read.
        batch_size: Height and width of the frames that they were measured on.
        chunk_frames: Frames at once in the walks.
        walk_bytes: Most memory that a walk needed beside the loaded model.
    """

    device: str
    load_s: float
    videos: list[SampledVideo] = field(default_factory=list)
    batches: BatchSpeeds | None = None
    batch_size: tuple[int, int] = (0, 0)
    chunk_frames: int = 0
    walk_bytes: int = 0

    @property
    def on_gpu(self) -> bool:
        """Whether the model ran on a GPU."""
        return self.device.startswith("cuda")

    @property
    def walks(self) -> list[Probe]:
        """The walks that were made."""
        return [row.walk for row in self.videos if row.walk is not None]

    @property
    def frames_per_s(self) -> float:
        """Of one worker, over all walks; 0 if there was none."""
        seconds = sum(walk.walk_s for walk in self.walks)
        return sum(walk.num_frames for walk in self.walks) / max(seconds, 1e-9)

    @property
    def result_bytes_per_frame(self) -> float:
        """Over all walks."""
        frames = sum(walk.num_frames for walk in self.walks)
        return sum(walk.result_bytes for walk in self.walks) / max(1, frames)

    def seconds_of(self, row: SampledVideo) -> float:
        """What one worker would take for a whole video."""
        if row.problem:
            return row.fetch_s
        if row.walk is None:
            return row.fetch_s + row.frames_to_annotate / self.frames_per_s
        for_each = row.walk.walk_s / row.walk.num_frames
        return row.fetch_s + row.walk.open_s + row.frames_to_annotate * for_each


def measure_sample(
    sample: ArchiveSample,
    videos: VideoStore,
    model: ModelReference,
    request: "PlanRequest",
    num_workers: int,
    load: LoadSystem | None,
    clock: Callable[[], float],
) -> Measured:
    """Loads the model and walks through the start of each drawn video.

    Raises:
        ConfigError: One frame does not fit in memory.
        CheckpointError: The model cannot be loaded.
        StorageError: A video cannot be fetched.
    """
    device = torch.device("cuda" if _uses_gpu(request) else "cpu")
    with _one_thread(), Progress(len(sample.drawn), "videos", "sample") as progress:
        start_s = clock()
        categories = read_categories(model.path)
        system = load(str(model.path)) if load else load_system(model.path, device)
        measured = Measured(device.type, clock() - start_s)
        bench = _Bench(system, categories, request, measured, _sharers(request, num_workers), clock)
        for place, drawn in enumerate(sample.drawn):
            measured.videos.append(bench.open(drawn.video, videos, 1 / (len(sample.drawn) - place)))
            progress.update(1, drawn.video.shown)
    return measured


class _Bench:
    """Holds a model and measures it on one video after the other."""

    def __init__(
        self,
        system: FrameSystem,
        categories: Categories,
        request: "PlanRequest",
        measured: Measured,
        num_sharers: int,
        clock: Callable[[], float],
    ) -> None:
        self._system, self._categories = system, categories
        self._request, self._config = request, request.config
        self._measured, self._num_sharers, self._clock = measured, num_sharers, clock
        self._memory = memory_of(torch.device(measured.device))
        self._held_bytes = self._memory.held_bytes()
        self._left_s = WALKS_S

    def open(self, video: ArchivedVideo, videos: VideoStore, share: float) -> SampledVideo:
        """Brings one video here, reads it, and walks through its start.

        Args:
            video: The video.
            videos: Where it is.
            share: Of the time that is left for walks.
        """
        start_s = self._clock()
        fetch_s, where = 0.0, ""
        try:
            with videos.as_file(video.key, video.etag) as path:
                fetch_s, where = self._clock() - start_s, f"{shown_name(path)}: "
                facts = read_facts(path, self._config, self._request.max_frames, _IMAGES)
                if self._measured.batches is None:
                    self._try_batches(facts)
                walk = self._walk(path, share)
        except VideoDecodeError as error:
            return SampledVideo(video, str(error).removeprefix(where), fetch_s=fetch_s)
        return SampledVideo(
            video,
            num_frames=facts.num_frames,
            frames_to_annotate=facts.frames_to_annotate,
            duration_s=facts.duration_s,
            height=facts.height,
            width=facts.width,
            fetch_s=fetch_s,
            walk=walk,
        )

    def _try_batches(self, facts: VideoFacts) -> None:
        """Measures how many frames at once suit, each seen in all views, as in a walk."""
        views = View.of(self._config.views)
        systems = [view.applied_to(self._system) for view in views]

        def run(frames: int) -> None:
            images = [facts.images[index % len(facts.images)] for index in range(frames)]
            with torch.inference_mode():
                for system in systems:
                    system.segment(images)
            if self._measured.on_gpu:
                torch.cuda.synchronize()

        batches = measure_batches(
            run, self._memory, self._clock, num_sharers=self._num_sharers, budget_s=BATCHES_S
        )
        if batches.runs[0].out_of_memory:
            raise ConfigError(
                f"--model: one frame of {facts.width} x {facts.height} pixels does not fit in the"
                f" memory of this machine ({self._measured.device}); give a smaller model, a"
                " smaller test size, or a larger machine"
            )
        self._measured.batches = batches
        self._measured.batch_size = facts.height, facts.width
        self._measured.chunk_frames = batches.allowed(self._config.chunk_frames)

    def _walk(self, path: Path, share: float) -> Probe | None:
        """Walks through the start of a video, if there is time left."""
        if self._left_s <= 0:
            return None
        chunk = self._measured.chunk_frames
        start_s = self._clock()
        frames = max(_WALKED_FRAMES, _WALKED_CHUNKS * chunk)
        try:
            with self._memory.watch() as peak:
                walk = probe_video(
                    path,
                    self._system,
                    self._categories,
                    self._config.model_copy(update={"chunk_frames": chunk}),
                    max_frames=min(frames, self._request.max_frames or frames),
                    until_s=start_s + share * self._left_s,
                    clock=self._clock,
                )
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise ConfigError(
                f"inference.chunk_frames: a walk with {chunk} frames at once runs out of memory"
                f" ({self._measured.device}); give a smaller number"
            ) from error
        self._left_s -= self._clock() - start_s
        needed = peak.num_bytes - self._held_bytes
        self._measured.walk_bytes = max(self._measured.walk_bytes, needed)
        return walk


def _uses_gpu(request: "PlanRequest") -> bool:
    """Whether the workers would have a GPU; Ray hides them from those that ask for none."""
    return request.gpus_per_worker > 0 and torch.cuda.is_available()


def _sharers(request: "PlanRequest", num_workers: int) -> int:
    """How many workers share the memory of the device."""
    if _uses_gpu(request):
        return min(num_workers, max(1, int(1 / request.gpus_per_worker)))
    return min(num_workers, os.cpu_count() or 1)  # more are on other machines


@contextmanager
def _one_thread() -> Iterator[None]:
    """Computes as a worker does, of which there is one for each core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
