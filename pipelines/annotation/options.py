"""Options of an annotation job: frames, workers, segments, and outcomes to redo."""

from dataclasses import dataclass, field
from typing import Any, Literal

from vis_core.config.inference import InferenceConfig
from vis_core.errors import ConfigError

# Half a minute of video at 30 frames per second, which is the most that a kill can lose.
SAVE_EVERY = 1000
Redo = Literal["failed", "machine-errors", "all", "changed-model"]
Join = Literal["exact", "stitched"]
Segments = int | Literal["auto"]


@dataclass(frozen=True)
class AnnotateOptions:
    """The options of an annotation job, apart from the model and its inference settings."""

    max_frames: int | None = None  # frames to annotate per video; None means all
    workers: int | None = None  # number of actors; None means one per core
    gpus_per_worker: float = 0.0  # share of a GPU that each actor reserves
    # "failed" or "all": removes these outcomes first and annotates the videos again.
    # "machine-errors": the same for videos that an earlier release quarantined although the
    # machine failed, for example for lack of disk space.
    # "changed-model": removes results of other model versions or settings after this job has
    # annotated the same videos. None keeps every outcome
    redo: Redo | None = None
    # segments per video, predicted in parallel; "auto" cuts only videos that would keep one
    # worker busy while all others are idle. Exact results do not depend on this
    segments: Segments = "auto"
    # "exact" associates all segments in one pass, which equals an uncut run; "stitched"
    # associates them in parallel and joins their tracks, with a confidence per join
    join: Join = "exact"
    save_every: int = SAVE_EVERY  # frames between two saved states of a video
    address: str | None = None  # address of a running Ray cluster; None starts a local one

    @property
    def is_stitched(self) -> bool:
        """True if segments are associated separately and then joined."""
        return self.join == "stitched"

    @property
    def stitch_count(self) -> int | None:
        """The number of segments that are stitched, or None if the result is exact."""
        if not self.is_stitched or self.segments in ("auto", 1):
            return None
        return int(self.segments)

    def segments_with(self, config: InferenceConfig) -> Segments:
        """Returns the number of segments per video, which is 1 if there are several views."""
        return self.segments if len(config.views) < 2 else 1

    def settings_document(self, config: InferenceConfig) -> dict[str, Any]:
        """Returns all settings that affect a result and therefore its name.

        Stitching settings are included only when segments are stitched, because exact results do
        not depend on them. Quick resizing is omitted: earlier releases knew no other.
        """
        omitted = {"stitching", "resize"} if config.resize == "quick" else {"stitching"}
        inference = config.model_dump(mode="json", exclude=omitted)
        settings = {"inference": inference, "max_frames": self.max_frames}
        if self.stitch_count is None:
            return settings
        stitching = config.stitching.model_dump(mode="json")
        return {**settings, "stitching": {"segments": self.stitch_count, **stitching}}

    def validate(self, config: InferenceConfig) -> None:
        """Checks the options, alone and together with the inference settings.

        Raises:
            ConfigError: An option is out of range or contradicts another; the message names it.
        """
        require_at_least_one(
            max_frames=self.max_frames, workers=self.workers, save_every=self.save_every
        )
        require_not_negative(gpus_per_worker=self.gpus_per_worker)
        if self.segments != "auto" and self.segments < 1:
            raise ConfigError(f"segments: expected at least 1 or auto, found {self.segments}")
        if self.is_stitched and self.segments == "auto":
            raise ConfigError(
                "segments: auto depends on the number of workers, and stitched results must not; "
                "give a number with --segments, or use --join exact"
            )
        if len(config.views) > 1 and self.segments not in ("auto", 1):
            raise ConfigError(
                f"segments: found {self.segments}, but the results of {len(config.views)} views "
                "are fused at the end of an uncut video; omit --segments, or give one view"
            )


@dataclass(frozen=True)
class PlanRequest:
    """The settings of a planned job and of the plan itself."""

    config: InferenceConfig = field(default_factory=InferenceConfig)
    options: AnnotateOptions = AnnotateOptions()
    num_samples: int = 16  # videos that the plan opens
    gpu_hour_cost: float | None = None

    def validate(self) -> None:
        """Raises a ConfigError that names the first number out of range."""
        self.options.validate(self.config)
        require_at_least_one(num_samples=self.num_samples)
        require_not_negative(gpu_hour_cost=self.gpu_hour_cost)


def require_at_least_one(**numbers: int | None) -> None:
    """Raises a ConfigError that names the first number below 1; None passes."""
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ConfigError(f"{name}: expected at least 1, found {number}")


def require_not_negative(**numbers: float | None) -> None:
    """Raises a ConfigError that names the first number that is negative or not finite."""
    for name, number in numbers.items():
        if number is not None and not 0 <= number < float("inf"):
            raise ConfigError(f"{name}: expected 0 or more, found {number}")
