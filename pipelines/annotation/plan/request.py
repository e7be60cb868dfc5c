"""What a plan is asked for."""

from dataclasses import dataclass, field

from pipelines.annotation.job import Join, Redo
from pipelines.annotation.work_queue import Segments
from vis_core.config.inference import InferenceConfig
from vis_core.errors import ConfigError


@dataclass(frozen=True)
class PlanRequest:
    """Is what the job would be told, and how it is looked into.

    Attributes:
        config: How a video is walked through.
        max_frames: Frames annotated of each video; None means all.
        num_workers: Workers; None means one for each core.
        gpus_per_worker: Share of a GPU that each gets.
        redo: What is done again, see ``annotate_archive``.
        segments: Into how many segments each video is cut, see ``annotate_archive``.
        join: How segments are named, see ``annotate_archive``.
        num_samples: Videos that are opened.
        seed: Of their draw.
        gpu_hour_cost: Price of an hour of one GPU, or None.
    """

    config: InferenceConfig = field(default_factory=InferenceConfig)
    max_frames: int | None = None
    num_workers: int | None = None
    gpus_per_worker: float = 0.0
    redo: Redo | None = None
    segments: Segments = "auto"
    join: Join = "exact"
    num_samples: int = 16
    seed: int = 0
    gpu_hour_cost: float | None = None

    def check(self) -> None:
        """Refuses numbers that are out of range.

        Raises:
            ConfigError: The message names the number.
        """
        for name in ("max_frames", "num_workers", "num_samples"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ConfigError(f"{name}: expected at least 1, found {number}")
        for name in ("gpus_per_worker", "gpu_hour_cost"):
            number = getattr(self, name)
            if number is not None and not 0 <= number < float("inf"):
                raise ConfigError(f"{name}: expected 0 or more, found {number}")
