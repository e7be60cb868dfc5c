"""Settings of the annotation of videos."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from vis_core.config.decoding import DecodeLimits
from vis_core.config.section import Section
from vis_core.config.stitching import StitchConfig

ViewName = Annotated[str, StringConstraints(pattern=r"^([1-9][0-9]{1,3}(\+flip)?|flip)$")]


class ShortTrackFilter(Section):
    """Tracks that are removed from the result while the video runs (released IDOL and CTVIS).

    They stay in the memory: one that is matched again restarts under its id, without its past.
    """

    after_frame: int = Field(
        default=8,
        ge=0,
        description="Index of the last frame after which no track is removed (released IDOL and"
        " CTVIS: 8).",
    )
    min_detections: int = Field(
        default=3,
        ge=1,
        description="Frames since its start, or restart, in which a track must be detected to stay"
        " (released IDOL and CTVIS: 3).",
    )
    missed_frames: int = Field(
        default=2,
        ge=1,
        description="Consecutive frames up to the current one that a short track has missed when"
        " it is removed (released IDOL and CTVIS: 2).",
    )


class TrackConfig(Section):
    """Selection, scores and labels of the tracks of a video."""

    evidence: Literal["scores", "logits"] = Field(
        default="scores",
        description="Values that are combined over the frames of a track: class scores (IDOL 3.3,"
        " CTVIS 3.2), or class logits including no object, whose softmax is the scores (MinVIS,"
        " released CTVIS).",
    )
    over_time: Literal["mean", "max"] = Field(
        default="mean",
        description="How they are combined over the frames with a detection (the papers: mean; max"
        " is an option of the released IDOL and CTVIS).",
    )
    labels: Literal["best", "every", "majority"] = Field(
        default="best",
        description="Classes listed for a track. best: the one with the highest score; every: all,"
        " as one listing each, to which max_tracks and min_score apply (MinVIS, released CTVIS and"
        " IDOL); majority: the class of most of its frames, with their mean score (STC 3.5).",
    )
    mask_quality: bool = Field(
        default=False,
        description="Multiply the score of a kept track by the mean sigmoid of its mask pixels"
        " over all frames (released CTVIS; not in the papers).",
    )
    last_mask_resize: Literal["bilinear", "nearest"] = Field(
        default="bilinear",
        description="Interpolation of masks from the resized image to the size of the video"
        " (Mask2Former: bilinear; released IDOL: nearest).",
    )
    short_tracks: ShortTrackFilter | None = Field(
        default=None,
        description="Removal of short tracks while the video runs (released IDOL and CTVIS; not in"
        " the papers). null: none is removed.",
    )
    max_tracks: int | None = Field(
        default=100,
        ge=1,
        description="Maximum number of tracks per video, best scores first; the YouTube-VIS"
        " evaluator reads no more than 100 (its maxDets). Released CTVIS: the number of classes;"
        " MinVIS: 10; released IDOL: null, which keeps all.",
    )
    min_score: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Score below which a track is dropped; 0 keeps all, since AP counts weak tracks"
        " too (released IDOL: 0.05).",
    )
    min_frames: int = Field(
        default=1,
        ge=0,
        description="Minimum number of frames in which a track has at least one pixel; 0 also"
        " lists empty tracks, as released CTVIS, MinVIS and IDOL do.",
    )

    @classmethod
    def ctvis_released(cls, num_classes: int) -> "TrackConfig":
        """Returns the settings of CTVIS's code, which lists as many tracks as classes."""
        return cls(
            evidence="logits",
            labels="every",
            mask_quality=True,
            short_tracks=ShortTrackFilter(),
            max_tracks=num_classes,
            min_frames=0,
        )

    @classmethod
    def minvis_released(cls) -> "TrackConfig":
        """Returns the settings of MinVIS's code."""
        return cls(evidence="logits", labels="every", max_tracks=10, min_frames=0)

    @classmethod
    def idol_released(cls) -> "TrackConfig":
        """Returns the settings of IDOL's code."""
        return cls(
            labels="every",
            last_mask_resize="nearest",
            short_tracks=ShortTrackFilter(),
            max_tracks=None,
            min_score=0.05,
            min_frames=0,
        )


class FusionConfig(Section):
    """Fusion of several results of one video (2nd place 3.3; 1st place 3.3)."""

    iou_threshold: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Spatio-temporal IoU from which tracks of two results are fused (not printed; "
        "0.5 as the threshold of IDOL Eq. 7).",
    )
    score: Literal["mean", "mean_of_found", "max"] = Field(
        "mean",
        description="Score of a fused track. mean: over all results, 0 where one lacks the track; "
        "mean_of_found: over the results that have it; max: the highest.",
    )
    label: Literal["same", "vote"] = Field(
        "same",
        description="Class of a fused track. same: only tracks of one class are fused; vote: all "
        "are, and the class with the highest sum of scores wins.",
    )
    mask: Literal["vote", "best"] = Field(
        "vote",
        description="Masks of a fused track. vote: the pixels of members that hold at least half "
        "of the sum of scores (an absent member has no pixels); best: the masks of the best "
        "member.",
    )


class InferenceConfig(Section):
    """Annotation of a video."""

    chunk_frames: int = Field(
        default=4,
        ge=1,
        description="Frames per batch of the network; changes memory use, not the result.",
    )
    videos_at_once: int = Field(
        default=1,
        ge=1,
        description="Videos that a worker processes at a time, with shared batches. Use it for"
        " archives of many short videos: it hides the time of opening, downloading and writing."
        " With more than one, results are equal up to rounding, which depends on the batch.",
    )
    sample_fps: float | None = Field(
        default=None,
        gt=0,
        description="Maximum frames per second that are annotated; the others are decoded and"
        " skipped. null: all.",
    )
    views: tuple[ViewName, ...] = Field(
        default=(),
        description="Test-time augmentation: short sides at which a video is annotated before the"
        " results are fused, such as 480, 640+flip (mirrored), or flip for the size of the model"
        " mirrored (2nd place 3.1: 480, 640, 800). Empty: only the size of the model.",
    )
    fusion: FusionConfig = Field(
        default_factory=FusionConfig, description="Fusion of the results of several views."
    )
    tracks: TrackConfig = Field(default_factory=TrackConfig)
    decoding: DecodeLimits = Field(default_factory=DecodeLimits)
    stitching: StitchConfig = Field(
        default_factory=StitchConfig,
        description="How segments are joined with --join stitched; exact results ignore it.",
    )

    @model_validator(mode="after")
    def _check_views(self) -> "InferenceConfig":
        if self.views and self.videos_at_once > 1:
            raise ValueError(
                "videos_at_once: videos with views cannot share batches; leave it at 1, or views "
                "empty"
            )
        return self
