"""Settings of the annotation of videos."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, StringConstraints, model_validator

from vis_core.config.media import DecodeLimits
from vis_core.config.section import Count, PositiveShare, Section, Share
from vis_core.config.stitching import StitchConfig

ViewName = Annotated[str, StringConstraints(pattern=r"^([1-9][0-9]{1,3}(\+flip)?|flip)$")]


class ShortTrackFilter(Section):
    """Tracks that are removed from the result while the video runs (released IDOL and CTVIS).

    They stay in the memory: one that is matched again restarts under its id, without its past.
    """

    after_frame: NonNegativeInt = Field(
        8, description="Index of the last frame after which no track is removed (released: 8)."
    )
    min_detections: Count = Field(
        3, description="Detections since its start, or restart, that keep a track (released: 3)."
    )
    missed_frames: Count = Field(
        2, description="Consecutive missed frames that remove a short track (released: 2)."
    )


class TrackConfig(Section):
    """Selection, scores and labels of the tracks of a video."""

    evidence: Literal["scores", "logits"] = Field(
        "scores",
        description="Values combined over a track's frames: class scores (IDOL 3.3, CTVIS 3.2), or "
        "class logits including no object, whose softmax is the scores (MinVIS, released CTVIS).",
    )
    over_time: Literal["mean", "max"] = Field(
        "mean",
        description="How frames are combined (papers: mean; max: option of released IDOL, CTVIS).",
    )
    labels: Literal["best", "every", "majority"] = Field(
        "best",
        description="Classes of a track. best: the highest score; every: all, each a listing of "
        "its own for max_tracks and min_score (MinVIS, released CTVIS and IDOL); majority: that "
        "of most frames, with their mean score (STC 3.5).",
    )
    mask_quality: bool = Field(
        False,
        description="Multiply the score of a kept track by the mean sigmoid of its mask pixels "
        "(released CTVIS; not in the papers).",
    )
    last_mask_resize: Literal["bilinear", "nearest"] = Field(
        "bilinear",
        description="Resize of masks to the video (Mask2Former: bilinear; released IDOL: nearest).",
    )
    short_tracks: ShortTrackFilter | None = Field(
        None,
        description="Removal of short tracks (released IDOL, CTVIS; not in papers). null: none.",
    )
    max_tracks: Count | None = Field(
        100,
        description="Tracks kept per video, best scores first; the YouTube-VIS evaluator reads 100 "
        "(maxDets). Released CTVIS: number of classes; MinVIS: 10; released IDOL: null, all.",
    )
    min_score: Share = Field(
        0.0,
        description="Score below which a track is dropped; AP needs weak ones (released IDOL: "
        "0.05).",
    )
    min_frames: NonNegativeInt = Field(
        1, description="Frames with a pixel that a track needs (released CTVIS, MinVIS, IDOL: 0)."
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

    iou_threshold: PositiveShare = Field(
        0.5,
        description="Spatio-temporal IoU from which tracks are fused (not printed; as IDOL Eq. 7).",
    )
    score: Literal["mean", "mean_of_found", "max"] = Field(
        "mean",
        description="Score of a fused track. mean: over all results, 0 where one lacks the track; "
        "mean_of_found: over those that have it; max: the highest.",
    )
    label: Literal["same", "vote"] = Field(
        "same",
        description="same: only tracks of one class fuse; vote: all do, the highest score sum "
        "wins.",
    )
    mask: Literal["vote", "best"] = Field(
        "vote",
        description="Masks of a fused track. vote: pixels whose members hold half of the score sum "
        "(absent ones have no pixels); best: those of the best member.",
    )


class InferenceConfig(Section):
    """Annotation of a video."""

    chunk_frames: Count = Field(
        4, description="Frames per network batch; changes memory use, not the result."
    )
    videos_at_once: Count = Field(
        1,
        description="Videos per worker at a time, with shared batches: hides opening, downloading "
        "and writing of many short videos. Above 1, results are equal up to rounding, which "
        "depends on the batch.",
    )
    sample_fps: PositiveFloat | None = Field(
        None,
        description="Annotated frames per second at most; others are decoded, skipped. null: all.",
    )
    views: tuple[ViewName, ...] = Field(
        (),
        description="Test-time augmentation: short sides whose results are fused, such as 480, "
        "640+flip (mirrored), or flip for the model's size mirrored (2nd place 3.1: 480, 640, "
        "800). Empty: only the model's size.",
    )
    fusion: FusionConfig = Field(
        default_factory=FusionConfig, description="Fusion of the results of several views."
    )
    tracks: TrackConfig = Field(default_factory=TrackConfig)
    decoding: DecodeLimits = Field(default_factory=DecodeLimits)
    stitching: StitchConfig = Field(
        default_factory=StitchConfig,
        description="Joining of segments with --join stitched; exact results ignore it.",
    )

    @model_validator(mode="after")
    def _check_views(self) -> "InferenceConfig":
        if self.views and self.videos_at_once > 1:
            raise ValueError(
                "videos_at_once: videos with views cannot share batches; leave it at 1, or views "
                "empty"
            )
        return self
