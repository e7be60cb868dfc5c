"""Settings for associating instances with tracks."""

from collections.abc import Callable
from typing import Literal

from pydantic import Field, NonNegativeFloat

from vis_core.config.section import Count, PositiveShare, Section, Share

MemoryName = Literal[
    "latest", "similarity_guided", "temporally_weighted", "temporally_weighted_released", "momentum"
]


class CueWeights(Section):
    """Weights of MaskTrack R-CNN's cues, added to the embeddings' log probability."""

    score: NonNegativeFloat = Field(
        1.0, description="Weight of the log instance score (MaskTrack R-CNN)."
    )
    iou: NonNegativeFloat = Field(
        2.0, description="Weight of the IoU with the track's box (MaskTrack R-CNN)."
    )
    label: NonNegativeFloat = Field(10.0, description="Weight of class equality (MaskTrack R-CNN).")


class AssociationConfig(Section):
    """Association of a frame's instances with past tracks."""

    memory: MemoryName = Field(
        "similarity_guided",
        description="How a track's past embeddings are combined (CTVIS Eq. 1-2).",
    )
    similarity: Literal["bisoftmax", "bisoftmax_with_age", "cosine", "cues"] = Field(
        "bisoftmax",
        description="Similarity between instances and tracks. bisoftmax: CTVIS Eq. 3; "
        "bisoftmax_with_age: IDOL Eq. 6; cosine: MinVIS; cues: MaskTrack R-CNN, STC 3.5.",
    )
    assignment: Literal["greedy", "hungarian", "best_claim"] = Field(
        "greedy",
        description="Assignment of instances to tracks. greedy: in order of score (CTVIS Eq. 4); "
        "hungarian: MinVIS; best_claim: MaskTrack R-CNN.",
    )
    match_threshold: float | None = Field(
        0.5,
        ge=-1,
        le=1,
        description="Similarity above which a track continues (CTVIS Eq. 4, IDOL Eq. 7: 0.5; "
        "CTVIS release: 0.3); unused if similarity is cues. null: no threshold (MinVIS).",
    )
    new_track_score: Share = Field(
        0.01,
        description="Score above which an unmatched instance starts a track (CTVIS release; "
        "IDOL release: 0.2, on OVIS 0.3).",
    )
    first_track_score: Share | None = Field(
        None, description="Replaces new_track_score while the memory is empty (IDOL release: 0.2)."
    )
    history_length: Count = Field(
        10, description="Embeddings kept per track (CTVIS release; IDOL release: 3)."
    )
    newest_share: PositiveShare = Field(
        0.75,
        description="Weight of the newest embedding if memory is momentum (CTVIS release; IDOL "
        "release: 0.8).",
    )
    max_unseen_frames: Count | None = Field(
        None,
        description="Consecutive frames that a track may miss without being forgotten (CTVIS "
        "release: 20, IDOL release: 9). null: never forgotten, as in the papers.",
    )
    frame_weighting: bool = Field(
        False,
        description="If several tracks exceed the threshold, weight each by the number of frames "
        "it was seen in (CTVIS and IDOL releases; not in the papers).",
    )
    cue_weights: CueWeights = Field(
        default_factory=CueWeights, description="Weights of the cues; used if similarity is cues."
    )

    @classmethod
    def ctvis_released(cls) -> "AssociationConfig":
        """Returns the settings of the authors' code (configs/*/CTVIS_*.yaml)."""
        return cls(match_threshold=0.3, max_unseen_frames=20, frame_weighting=True)

    @classmethod
    def minvis(cls) -> "AssociationConfig":
        """Returns the settings of MinVIS 3.3: every query continues a query of the last frame."""
        return cls(
            memory="latest",
            similarity="cosine",
            assignment="hungarian",
            match_threshold=None,
            new_track_score=0,
        )

    @classmethod
    def idol(cls) -> "AssociationConfig":
        """Returns the settings of IDOL 3.3; T and the new-track score come from the release."""
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
        """Returns IDOL's association without history: "embeddings" in IDOL's Tables 6 and 7."""
        return cls(memory="latest", new_track_score=0.2, history_length=1)

    @classmethod
    def multi_cues(cls) -> "AssociationConfig":
        """Returns MaskTrack R-CNN's association: "multi-cues" in IDOL's Tables 6 and 7."""
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
        """Returns the settings of STC 3.5: MaskTrack R-CNN's cues, without a new-track score."""
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
