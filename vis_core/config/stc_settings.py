"""What the tracking of STC can be told in training. Imports no torch: a run file is read early."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class StcTrackingConfig(BaseModel):
    """Says how embeddings and kernels of two frames are compared (STC 3.3, 3.4)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(256, ge=8, description="C of the embeddings (STC Table 5).")
    convs: int = Field(
        2, ge=1, description="Shared convolutions of the tracking head (SipMask; not printed)."
    )
    loss: Literal["contrastive", "classification"] = Field(
        "contrastive",
        description="STC Eq. 3, or which instance of the reference frame it is, or none (MaskTrack "
        "R-CNN; the baseline of STC Tables 4 and 5).",
    )
    bidirectional: bool = Field(
        True, description="Whether the frames also change places (STC Eq. 5)."
    )
    num_negatives: int = Field(
        128, ge=0, description="Places of the reference frame drawn as negatives (STC Table 8)."
    )
    negatives_in_boxes: bool = Field(
        False, description="Whether negatives lie in boxes of other instances (STC Table 8: worse)."
    )
    max_positives: int | None = Field(
        None,
        ge=1,
        description="Places of an instance in the reference frame that count, drawn (not printed).",
    )
    over_positives: Literal["sum", "mean"] = Field(
        "sum",
        description="How the terms of the positives of a query are joined: as printed (STC Eq. 3), "
        "where a large instance weighs more, or averaged.",
    )
    consistency: bool = Field(
        True, description="Whether kernels of an instance are to be alike (STC Eq. 6)."
    )
    both_frames: bool = Field(
        False,
        description="Whether the reference frame is compared with its masks too (CrossVIS; not "
        "printed).",
    )
