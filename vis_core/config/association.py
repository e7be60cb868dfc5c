"""Settings of the association of instances with tracks."""

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from vis_core.config.section import Section

MemoryName = Literal[
    "latest",
    "similarity_guided",
    "temporally_weighted",
    "temporally_weighted_released",
    "momentum",
]


class CueWeights(Section):
    """Weights of MaskTrack R-CNN's cues, added to the log probability of the embeddings."""

    score: float = Field(
        1.0, ge=0, description="Weight of the log of an instance's score (MaskTrack R-CNN)."
    )
    iou: float = Field(
        2.0, ge=0, description="Weight of the IoU with the box of the track (MaskTrack R-CNN)."
    )
    label: float = Field(10.0, ge=0, description="Weight of an equal class (MaskTrack R-CNN).")


class AssociationConfig(Section):
    """Association of the instances of a frame with the tracks of the past."""

    memory: MemoryName = Field(
        "similarity_guided",
        description="How the past embeddings of a track are combined (CTVIS Eq. 1-2).",
    )
    similarity: Literal["bisoftmax", "bisoftmax_with_age", "cosine", "cues"] = Field(
        "bisoftmax",
        description="Similarity of instances and tracks (CTVIS Eq. 3: bisoftmax; IDOL Eq. 6: "
        "bisoftmax_with_age; MinVIS: cosine; MaskTrack R-CNN, STC 3.5: cues).",
    )
    assignment: Literal["greedy", "hungarian", "best_claim"] = Field(
        "greedy",
        description="How instances are assigned to tracks (CTVIS Eq. 4: greedy, by score; MinVIS: "
        "hungarian; MaskTrack R-CNN: best_claim).",
    )
    match_threshold: float | None = Field(
        0.5,
        ge=-1,
        le=1,
        description="Similarity that an instance must exceed to continue a track. CTVIS Eq. 4 "
        "and IDOL Eq. 7 print 0.5, released CTVIS has 0.3. null: no threshold (MinVIS). Unused by "
        "cues, which have a threshold of their own.",
    )
    new_track_score: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Score above which an unmatched instance starts a track (released CTVIS; "
        "released IDOL: 0.2, OVIS 0.3).",
    )
    first_track_score: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Replaces new_track_score while the memory is empty (released IDOL: 0.2 for "
        "every data set). null: new_track_score.",
    )
    history_length: int = Field(
        10, ge=1, description="Embeddings kept per track (released CTVIS; released IDOL: 3)."
    )
    newest_share: float = Field(
        0.75,
        gt=0,
        le=1,
        description="Share of the newest embedding in the average of memory: momentum (released "
        "CTVIS; released IDOL: 0.8).",
    )
    max_unseen_frames: int | None = Field(
        None,
        ge=1,
        description="Consecutive frames that a track may miss; it is forgotten after the "
        "association of the next frame it misses. null: never, as in the papers; released CTVIS "
        "has 20, released IDOL 9 (it drops a track last seen 10 frames ago).",
    )
    frame_weighting: bool = Field(
        False,
        description="Weight tracks above the threshold by the number of frames they were seen in, "
        "if there are several (released CTVIS and IDOL; not in the papers).",
    )
    cue_weights: CueWeights = Field(
        default_factory=CueWeights, description="Weights of the cues, for similarity: cues."
    )

    @classmethod
    def ctvis_released(cls) -> "AssociationConfig":
        """Returns the settings of the authors' code (configs/*/CTVIS_*.yaml)."""
        return cls(match_threshold=0.3, max_unseen_frames=20, frame_weighting=True)

    @classmethod
    def minvis(cls) -> "AssociationConfig":
        """Returns MinVIS 3.3: every query continues one of the frame before, at no threshold."""
        return cls(
            memory="latest",
            similarity="cosine",
            assignment="hungarian",
            match_threshold=None,
            new_track_score=0,
        )

    @classmethod
    def idol(cls) -> "AssociationConfig":
        """Returns IDOL 3.3 as printed; T and the score of a new track are those of the release."""
        return cls(
            memory="temporally_weighted",
            similarity="bisoftmax_with_age",
            new_track_score=0.2,
            history_length=3,
        )

    @classmethod
    def idol_released(cls, new_track_score: float = 0.2) -> "AssociationConfig":
        """Returns the settings of the authors' code; ``new_track_score`` is 0.3 for OVIS."""
        return cls(
            memory="temporally_weighted_released",
            new_track_score=new_track_score,
            first_track_score=0.2,
            history_length=3,
            newest_share=0.8,
            max_unseen_frames=9,
            frame_weighting=True,
        )

    @classmethod
    def embeddings(cls) -> "AssociationConfig":
        """Returns IDOL's association without history, "embeddings" in IDOL's Tables 6 and 7."""
        return cls(memory="latest", new_track_score=0.2, history_length=1)

    @classmethod
    def multi_cues(cls) -> "AssociationConfig":
        """Returns the association of MaskTrack R-CNN, "multi-cues" in IDOL's Tables 6 and 7."""
        return cls(
            memory="latest",
            similarity="cues",
            assignment="best_claim",
            new_track_score=0.2,
            history_length=1,
            max_unseen_frames=19,
        )

    @classmethod
    def stc(cls) -> "AssociationConfig":
        """Returns STC 3.5: MaskTrack R-CNN's cues; any instance starts a track, none is lost."""
        return cls(
            memory="latest",
            similarity="cues",
            assignment="best_claim",
            new_track_score=0,
            history_length=1,
        )


# Names that a run file may use instead of an association section.
NAMED_ASSOCIATIONS: dict[str, Callable[[], AssociationConfig]] = {
    "ctvis": AssociationConfig,
    "ctvis_released": AssociationConfig.ctvis_released,
    "minvis": AssociationConfig.minvis,
    "idol": AssociationConfig.idol,
    "idol_released": AssociationConfig.idol_released,
    "embeddings": AssociationConfig.embeddings,
    "multi_cues": AssociationConfig.multi_cues,
    "stc": AssociationConfig.stc,
}
