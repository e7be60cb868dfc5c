"""What the annotation of a video can be told. Imports no torch: a run file is read early."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from vis_core.config.decoding import DecodeLimits
from vis_core.config.section import Section
from vis_core.config.stitching import StitchConfig

ViewName = Annotated[str, StringConstraints(pattern=r"^([1-9][0-9]{1,3}(\+flip)?|flip)$")]


class ShortTrackFilter(Section):
    """Says which tracks leave the result while the video runs (released IDOL and CTVIS).

    They stay in the memory: one that is named again restarts under its id, without its past.
    """

    after_frame: int = Field(
        default=8,
        ge=0,
        description="Index of the last frame after which no track leaves (released IDOL and CTVIS:"
        " 8).",
    )
    min_detections: int = Field(
        default=3,
        ge=1,
        description="Frames since its start, or restart, that a track must be named in to stay"
        " (released IDOL and CTVIS: 3).",
    )
    missed_frames: int = Field(
        default=2,
        ge=1,
        description="Frames in a row, up to the present one, that a short track is missed in when"
        " it leaves (released IDOL and CTVIS: 2).",
    )


class TrackConfig(Section):
    """Says which tracks of a video are kept, and how they are scored and labelled.

    The papers' form is the default; those of the authors' code are classmethods.
    """

    evidence: Literal["scores", "logits"] = Field(
        default="scores",
        description="What of a track's frames is put together: class scores (IDOL 3.3, CTVIS 3.2),"
        " or class logits with no object, their softmax then being the scores (MinVIS, released"
        " CTVIS).",
    )
    over_time: Literal["mean", "max"] = Field(
        default="mean",
        description="How it is put together over the frames where the track is named (the papers:"
        " mean; max is an option of the released IDOL and CTVIS).",
    )
    labels: Literal["best", "every", "majority"] = Field(
        default="best",
        description="Whether a track is listed with its best class alone, or once for every class"
        " (MinVIS, released CTVIS and IDOL); max_tracks and min_score then count the listings. Or"
        " with the class that most of its frames have, its score being their mean (STC 3.5).",
    )
    mask_quality: bool = Field(
        default=False,
        description="Multiply the score of a kept track by the mean sigmoid of its mask pixels"
        " over all frames (released CTVIS; not in the papers).",
    )
    last_mask_resize: Literal["bilinear", "nearest"] = Field(
        default="bilinear",
        description="How masks of the resized image come to the size of the video (Mask2Former:"
        " bilinear; released IDOL: nearest).",
    )
    short_tracks: ShortTrackFilter | None = Field(
        default=None,
        description="Tracks that leave while the video runs (released IDOL and CTVIS; not in the"
        " papers). None: all stay.",
    )
    max_tracks: int | None = Field(
        default=100,
        ge=1,
        description="Tracks kept of a video, best score first; the YouTube-VIS evaluator reads no"
        " more than 100 (its maxDets). Released CTVIS: the number of classes; MinVIS: 10; released"
        " IDOL: None, which is all.",
    )
    min_score: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Track score below which a track is dropped, in [0, 1]; 0 keeps all, since AP"
        " counts weak tracks too (released IDOL: 0.05).",
    )
    min_frames: int = Field(
        default=1,
        ge=0,
        description="Frames that a track must show at least one pixel in; 0 also lists tracks"
        " without any, as released CTVIS, MinVIS and IDOL do.",
    )

    @classmethod
    def ctvis_released(cls, num_classes: int) -> "TrackConfig":
        """Gives the form of CTVIS's code, which lists as many tracks as there are classes."""
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
        """Gives the form of MinVIS's code."""
        return cls(evidence="logits", labels="every", max_tracks=10, min_frames=0)

    @classmethod
    def idol_released(cls) -> "TrackConfig":
        """Gives the form of IDOL's code."""
        return cls(
            labels="every",
            last_mask_resize="nearest",
            short_tracks=ShortTrackFilter(),
            max_tracks=None,
            min_score=0.05,
            min_frames=0,
        )


class FusionConfig(Section):
    """Says how several results of one video become one (2nd place 3.3; 1st place 3.3)."""

    iou_threshold: float = Field(
        0.5,
        gt=0,
        le=1,
        description="IoU over space and time from which tracks of two results are one (not "
        "printed; 0.5, as for matching in IDOL Eq. 7).",
    )
    score: Literal["mean", "mean_of_found", "max"] = Field(
        "mean",
        description="Score of a fused track: mean over all results, one that lacks it counting as "
        "0; mean over those that have it; or the highest.",
    )
    label: Literal["same", "vote"] = Field(
        "same",
        description="Whether only tracks of one class are fused, or all, the class with the "
        "highest sum of scores then being theirs.",
    )
    mask: Literal["vote", "best"] = Field(
        "vote",
        description="Pixels of a fused track: those that members with at least half of the scores "
        "show (a member that is absent in a frame shows none), or the masks of the best member.",
    )


class InferenceConfig(Section):
    """Says how a video is walked through."""

    chunk_frames: int = Field(
        default=4,
        ge=1,
        description="Frames that go through the network at once; the result does not depend on it,"
        " memory does.",
    )
    videos_at_once: int = Field(
        default=1,
        ge=1,
        description="Videos that a worker walks through at a time, their frames sharing the batches"
        " of its network: for archives of many short ones, whose opening, downloading and writing"
        " it hides. With more than one, results are equal up to rounding, which depends on the"
        " batch.",
    )
    sample_fps: float | None = Field(
        default=None,
        gt=0,
        description="Frames a second of a video file that are annotated at most; the others are"
        " decoded and passed over. null: all.",
    )
    views: tuple[ViewName, ...] = Field(
        default=(),
        description="Short sides in which a video is seen, the results being fused: 480, 640+flip,"
        " or flip for the model's own size mirrored (2nd place 3.1: 480, 640, 800). None: the"
        " model's own size alone.",
    )
    fusion: FusionConfig = Field(
        default_factory=FusionConfig, description="How the results of several views become one."
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
                "videos_at_once: batches are shared by videos that are seen as they are; leave it "
                "at 1, or views empty"
            )
        return self
