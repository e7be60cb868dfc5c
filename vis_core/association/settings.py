"""What association can be told. Imports no torch: the schema of a run is read early."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MemoryName = Literal[
    "latest",
    "similarity_guided",
    "temporally_weighted",
    "temporally_weighted_released",
    "momentum",
]


class AssociationConfig(BaseModel):
    """Says how the instances of a frame are named after the tracks of the past."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory: MemoryName = Field(
        "similarity_guided", description="What a track shows of its past (CTVIS Eq. 1-2)."
    )
    similarity: Literal["bisoftmax", "cosine"] = Field(
        "bisoftmax", description="How instances and tracks are compared (CTVIS Eq. 3)."
    )
    assignment: Literal["greedy", "hungarian"] = Field(
        "greedy", description="Who gets which track (CTVIS Eq. 4: greedy in order of score)."
    )
    match_threshold: float | None = Field(
        0.5,
        ge=-1,
        le=1,
        description="Similarity that an instance must exceed to go on with a track; CTVIS Eq. 4 "
        "and IDOL Eq. 7 print 0.5, released CTVIS has 0.3. None is no floor (MinVIS).",
    )
    new_track_score: float = Field(
        0.01, ge=0, le=1, description="Score above which a lone instance starts a track (released)."
    )
    history_length: int = Field(
        10, ge=1, description="Embeddings kept of each track (released CTVIS)."
    )
    max_unseen_frames: int | None = Field(
        None,
        ge=1,
        description="Frames after which an unseen track is forgotten; None keeps all, as the paper "
        "does; released CTVIS has 20.",
    )
    frame_weighting: bool = Field(
        False,
        description="Weigh several tracks above the threshold by the frames they were seen in "
        "(released CTVIS and IDOL; not in the papers).",
    )
