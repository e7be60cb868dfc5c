"""What the annotation of a video can be told. Imports no torch: a run file is read early."""

from pydantic import BaseModel, ConfigDict, Field

from vis_core.formats.video_files import DecodeLimits

_SECTION = ConfigDict(frozen=True, extra="forbid")


class TrackConfig(BaseModel):
    """Says which tracks of a video are kept."""

    model_config = _SECTION

    max_tracks: int = Field(
        default=100,
        ge=1,
        description="Tracks kept of a video, best score first; the YouTube-VIS evaluator reads no"
        " more than 100 (its maxDets).",
    )
    min_score: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Track score below which a track is dropped, in [0, 1]; 0 keeps all, since AP"
        " counts weak tracks too.",
    )
    min_frames: int = Field(
        default=1,
        ge=1,
        description="Frames that a track must show at least one pixel in; 1 keeps all (the released"
        " IDOL drops tracks under 3).",
    )


class InferenceConfig(BaseModel):
    """Says how a video is walked through."""

    model_config = _SECTION

    chunk_frames: int = Field(
        default=4,
        ge=1,
        description="Frames that go through the network at once; the result does not depend on it,"
        " memory does.",
    )
    tracks: TrackConfig = Field(default_factory=TrackConfig)
    decoding: DecodeLimits = Field(default_factory=DecodeLimits)
