"""Settings for annotating videos."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, StringConstraints, model_validator

from vis_core.config.media import DecodeLimits
from vis_core.config.section import Count, PositiveShare, Section, Share
from vis_core.config.stitching import StitchConfig

ViewName = Annotated[str, StringConstraints(pattern=r"^([1-9][0-9]{1,3}(\+flip)?|flip)$")]


class ShortTrackFilter(Section):
    """Removal of short tracks from the result during a video (IDOL and CTVIS releases).

    A removed track stays in the memory; if matched again, it keeps its id but not its old frames.
    """

    after_frame: NonNegativeInt = Field(
        8, description="Frame index up to which no track is removed (releases: 8)."
    )
    min_detections: Count = Field(
        3, description="Minimum detections since a track's start or restart (releases: 3)."
    )
    missed_frames: Count = Field(
        2, description="Missed frames in a row after which a short track is removed (releases: 2)."
    )


class TrackConfig(Section):
    """Selection, scores and labels of a video's tracks."""

    evidence: Literal["scores", "logits"] = Field(
        "scores",
        description="Values combined over a track's frames. scores: class scores (IDOL 3.3, CTVIS "
        "3.2); logits: logits of all classes and no-object, then softmax (MinVIS, CTVIS release).",
    )
    over_time: Literal["mean", "max"] = Field(
        "mean",
        description="How the frames' values are combined. mean: papers; max: option in the IDOL "
        "and CTVIS releases.",
    )
    labels: Literal["best", "every", "majority"] = Field(
        "best",
        description="Classes of a track. best: the class with the highest score; every: all "
        "classes, as separate tracks for max_tracks and min_score (MinVIS; CTVIS, IDOL releases); "
        "majority: the most frequent class, with the mean score of all frames (STC 3.5).",
    )
    mask_quality: bool = Field(
        False,
        description="Multiply a kept track's score by the mean sigmoid of its mask pixels "
        "(CTVIS release; not in the papers).",
    )
    last_mask_resize: Literal["bilinear", "nearest"] = Field(
        "bilinear",
        description="Mask resizing to video size (Mask2Former: bilinear; IDOL release: nearest).",
    )
    short_tracks: ShortTrackFilter | None = Field(
        None,
        description="Removal of short tracks (IDOL and CTVIS releases, not the papers). null: off.",
    )
    max_tracks: Count | None = Field(
        100,
        description="Tracks kept per video, best scores first; the YouTube-VIS evaluator reads 100 "
        "(maxDets). CTVIS release: the number of classes; MinVIS: 10; IDOL release: all (null).",
    )
    min_score: Share = Field(
        0.0,
        description="Score below which a track is dropped (IDOL release: 0.05). Low-scoring tracks "
        "can still raise AP.",
    )
    min_frames: NonNegativeInt = Field(
        1,
        description="Minimum number of frames in which a track's mask is not empty (CTVIS, MinVIS "
        "and IDOL releases: 0).",
    )

    @classmethod
    def ctvis_released(cls, num_classes: int) -> "TrackConfig":
        """Returns the settings of CTVIS's code, which keeps at most ``num_classes`` tracks."""
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
    """Fusion of several results of one video (2nd place 3.3; 1st place 3.3).

    The 2nd place's report may also describe NMS over all tracks (``score: max``, ``mask: best``).
    """

    iou_threshold: PositiveShare = Field(
        0.5,
        description="Minimum spatio-temporal IoU of fused tracks (not in the papers; value of IDOL "
        "Eq. 7).",
    )
    score: Literal["mean", "mean_of_found", "max"] = Field(
        "mean",
        description="Score of a fused track. mean: mean over all results, with 0 for a result "
        "without the track; mean_of_found: mean over the results with the track; max: the highest.",
    )
    label: Literal["same", "vote"] = Field(
        "same",
        description="Classes of fused tracks. same: only tracks of one class are fused; vote: "
        "tracks of any class are fused, and the class with the highest score sum wins.",
    )
    mask: Literal["vote", "best"] = Field(
        "vote",
        description="Masks of a fused track. vote: a pixel needs members with at least half of the "
        "score sum (an absent member has no pixels); best: the masks of the best member.",
    )


class InferenceConfig(Section):
    """Annotation of a video."""

    chunk_frames: Count = Field(
        4, description="Frames per network batch; changes memory use, not the result."
    )
    videos_at_once: Count = Field(
        1,
        description="Videos per worker at a time, with shared batches; hides the time to open, "
        "download and write many short videos. Above 1, results differ by rounding, which depends "
        "on the batch.",
    )
    sample_fps: PositiveFloat | None = Field(
        None,
        description="Maximum annotated frames per second; other frames are only decoded. null: "
        "annotate all.",
    )
    # Not written to files: it concerns folders of pictures alone, whose version contains it.
    picture_rate: PositiveFloat | None = Field(
        None,
        exclude=True,
        description="Pictures per second of a folder of pictures. null: read video files only.",
    )
    views: tuple[ViewName, ...] = Field(
        (),
        description="Test-time augmentation: short sides whose results are fused, such as 480, "
        "640+flip (mirrored), or flip (the model's size, mirrored). 2nd place 3.1: 480, 640, 800. "
        "Empty: only the model's size.",
    )
    resize: Literal["antialiased", "quick"] = Field(
        "antialiased",
        description="Resizing of frames to the test size. antialiased: equal to training "
        "(detectron2); quick: reads four pixels per output pixel, for archives; saves 3 to 7 ms "
        "per 720p frame and changes the pixels of shrunk frames.",
    )
    fusion: FusionConfig = Field(
        default_factory=FusionConfig, description="Fusion of results from several views."
    )
    tracks: TrackConfig = Field(default_factory=TrackConfig)
    decoding: DecodeLimits = Field(default_factory=DecodeLimits)
    stitching: StitchConfig = Field(
        default_factory=StitchConfig,
        description="Joining of segments with --join stitched; unused with other values of --join.",
    )

    @model_validator(mode="after")
    def _check_views(self) -> "InferenceConfig":
        if self.views and self.videos_at_once > 1:
            raise ValueError(
                "videos_at_once: videos with views cannot share batches; leave it at 1, or views "
                "empty"
            )
        return self
