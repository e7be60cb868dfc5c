"""What the fusion of results can be told. Imports no torch: a run file is read early."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class FusionConfig(BaseModel):
    """Says how several results of one video become one (2nd place 3.3; 1st place 3.3)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
