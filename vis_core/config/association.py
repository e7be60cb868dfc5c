"""What association can be told. Imports no torch: the schema of a run is read early."""

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
    """Weighs the cues of MaskTrack R-CNN beside the log of the embeddings' probability."""

    score: float = Field(1.0, ge=0, description="Log of an instance's score (MaskTrack R-CNN).")
    iou: float = Field(2.0, ge=0, description="IoU with the box of the track (MaskTrack R-CNN).")
    label: float = Field(10.0, ge=0, description="Same class as the track (MaskTrack R-CNN).")


class AssociationConfig(Section):
    """Says how the instances of a frame are named after the tracks of the past."""

    memory: MemoryName = Field(
        "similarity_guided", description="What a track shows of its past (CTVIS Eq. 1-2)."
    )
    similarity: Literal["bisoftmax", "bisoftmax_with_age", "cosine", "cues"] = Field(
        "bisoftmax",
        description="How instances and tracks are compared (CTVIS Eq. 3; IDOL Eq. 6: with_age; "
        "MaskTrack R-CNN, STC 3.5: cues).",
    )
    assignment: Literal["greedy", "hungarian", "best_claim"] = Field(
        "greedy", description="Who gets which track (CTVIS Eq. 4: greedy in order of score)."
    )
    match_threshold: float | None = Field(
        0.5,
        ge=-1,
        le=1,
        description="Similarity that an instance must exceed to go on with a track; CTVIS Eq. 4 "
        "and IDOL Eq. 7 print 0.5, released CTVIS has 0.3. None is no floor (MinVIS); cues have a "
        "floor of their own.",
    )
    new_track_score: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Score above which a lone instance starts a track (released CTVIS; released "
        "IDOL: 0.2, OVIS 0.3).",
    )
    first_track_score: float | None = Field(
        None,
        ge=0,
        le=1,
        description="The same while the memory is empty; None: new_track_score. Released IDOL has "
        "0.2 for every data set.",
    )
    history_length: int = Field(
        10, ge=1, description="Embeddings kept of each track (released CTVIS; released IDOL: 3)."
    )
    newest_share: float = Field(
        0.75,
        gt=0,
        le=1,
        description="Of the newest embedding in the average of the memory momentum (released CTVIS;"
        " released IDOL: 0.8).",
    )
    max_unseen_frames: int | None = Field(
        None,
        ge=1,
        description="Frames in a row that a track may be missed in; one more and it is forgotten, "
        "after that frame was named. None keeps all, as the papers do; released CTVIS has 20, "
        "released IDOL 9 (it drops a track last seen 10 frames ago).",
    )
    frame_weighting: bool = Field(
        False,
        description="Weigh several tracks above the threshold by the frames they were seen in "
        "(released CTVIS and IDOL; not in the papers).",
    )
    cue_weights: CueWeights = Field(
        default_factory=CueWeights, description="What each cue counts (similarity: cues)."
    )

    @classmethod
    def ctvis_released(cls) -> "AssociationConfig":
        """Gives the form of the authors' code (configs/*/CTVIS_*.yaml)."""
        return cls(match_threshold=0.3, max_unseen_frames=20, frame_weighting=True)

    @classmethod
    def minvis(cls) -> "AssociationConfig":
        """Gives MinVIS 3.3: every query goes on with one of the frame before, without a floor."""
        return cls(
            memory="latest",
            similarity="cosine",
            assignment="hungarian",
            match_threshold=None,
            new_track_score=0,
        )

    @classmethod
    def idol(cls) -> "AssociationConfig":
        """Gives IDOL 3.3 as printed; T and the score of a new track, not printed, as released."""
        return cls(
            memory="temporally_weighted",
            similarity="bisoftmax_with_age",
            new_track_score=0.2,
            history_length=3,
        )

    @classmethod
    def idol_released(cls, new_track_score: float = 0.2) -> "AssociationConfig":
        """Gives the form of the authors' code; ``new_track_score`` is 0.3 for OVIS."""
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
        """Gives IDOL's association without its past, "embeddings" in IDOL's Tables 6 and 7."""
        return cls(memory="latest", new_track_score=0.2, history_length=1)

    @classmethod
    def multi_cues(cls) -> "AssociationConfig":
        """Gives the association of MaskTrack R-CNN, "multi-cues" in IDOL's Tables 6 and 7."""
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
        """Gives STC 3.5: the cues of MaskTrack R-CNN; all may start a track, none is lost."""
        return cls(
            memory="latest",
            similarity="cues",
            assignment="best_claim",
            new_track_score=0,
            history_length=1,
        )


# what a run file may call a whole section of association by
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
