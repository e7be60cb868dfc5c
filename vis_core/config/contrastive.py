"""Settings of the contrastive learning of CTVIS and STC."""

from typing import Literal

from pydantic import Field

from vis_core.config.section import Section


class CtvisItemsConfig(Section):
    """Construction of the contrastive items of CTVIS."""

    positives: Literal["memory", "memory_or_latest"] = Field(
        "memory",
        description="Positive of an embedding. memory: the memory of its instance (CTVIS 3.3); "
        "memory_or_latest: that or the latest stored embedding, with equal chance (released).",
    )
    future_positives: bool = Field(
        False,
        description="Compare an instance that is new in a frame with its next later embedding "
        "(released; the paper has items only for instances in memory).",
    )
    negatives: Literal["memory", "previous_frame"] = Field(
        "memory",
        description="Negatives of an embedding. memory: the memories of the other instances and "
        "background queries of the frame before (CTVIS 3.3); previous_frame: all other queries of "
        "that frame (released).",
    )
    num_background: int = Field(
        99, ge=0, description="Background queries of the frame before used as negatives."
    )
    noise: Literal["instance", "query"] = Field(
        "instance",
        description="Wrong embedding that an absent instance may receive: that of another instance "
        "(CTVIS 3.3), or of any query, which then also becomes an anchor (released).",
    )
    noise_probability: float = Field(
        0.001,
        ge=0,
        le=1,
        description="Chance that an absent instance receives a wrong embedding (CTVIS 3.3: 'a "
        "little chance'; the release has 0.001, off by default).",
    )
    match_again: bool = Field(
        False,
        description="Match queries again for the items, with absent instances as empty masks "
        "without a class (released). By default the matching of the losses is used.",
    )

    @classmethod
    def released(cls) -> "CtvisItemsConfig":
        """Returns the settings of the authors' code (MOMENTUM_EMBED on, noise off)."""
        return cls(
            positives="memory_or_latest",
            future_positives=True,
            negatives="previous_frame",
            noise="query",
            noise_probability=0,
            match_again=True,
        )


class StcTrackingConfig(Section):
    """Comparison of the embeddings and kernels of two frames (STC 3.3, 3.4)."""

    width: int = Field(256, ge=8, description="Width of the embeddings, C (STC Table 5).")
    convs: int = Field(
        2, ge=1, description="Shared convolutions of the tracking head (SipMask; not printed)."
    )
    loss: Literal["contrastive", "classification"] = Field(
        "contrastive",
        description="contrastive: STC Eq. 3; classification: cross entropy over the instances of "
        "the reference frame and none (MaskTrack R-CNN; the baseline of STC Tables 4 and 5).",
    )
    bidirectional: bool = Field(
        True, description="Also compare the frames with their roles swapped (STC Eq. 5)."
    )
    num_negatives: int = Field(
        128, ge=0, description="Locations of the reference frame drawn as negatives (STC Table 8)."
    )
    negatives_in_boxes: bool = Field(
        False, description="Draw negatives in the boxes of other instances (STC Table 8: worse)."
    )
    max_positives: int | None = Field(
        None,
        ge=1,
        description="Locations of an instance drawn as positives in the reference frame (not "
        "printed). null: all.",
    )
    over_positives: Literal["sum", "mean"] = Field(
        "sum",
        description="How the terms of a query's positives are combined. sum: as printed (STC Eq. "
        "3), so that large instances weigh more; mean: averaged.",
    )
    consistency: bool = Field(
        True, description="Penalize differences between the kernels of an instance (STC Eq. 6)."
    )
    both_frames: bool = Field(
        False,
        description="Apply the detection losses to the reference frame too (CrossVIS; not "
        "printed).",
    )
