"""Settings for contrastive learning in CTVIS and STC."""

from typing import Literal

from pydantic import Field, NonNegativeInt

from vis_core.config.section import Count, Section, Share


class CtvisItemsConfig(Section):
    """Construction of CTVIS's contrastive items."""

    compare_with: Literal["memory", "previous_frame", "references"] = Field(
        "memory",
        description="Source of an embedding's positive and negatives. memory: the memory after the "
        "previous frame (CTVIS 3.3); previous_frame: that frame alone (CTVIS Table 3, no memory "
        "bank); references: every other frame of the clip in turn, for its first frame only (CTVIS "
        "Fig. 4, multi-reference). positives and future_positives are for memory.",
    )
    positives: Literal["memory", "memory_or_latest", "latest"] = Field(
        "memory",
        description="Positive for an embedding. memory: its instance's memory (CTVIS 3.3); "
        "memory_or_latest: the memory or the latest embedding, with equal chance (release); "
        "latest: the latest embedding, also as the other instances' negative (CTVIS Table 3 "
        "without momentum).",
    )
    future_positives: bool = Field(
        False,
        description="Compare an instance that is new in a frame with its next embedding (release; "
        "the paper compares only instances in memory).",
    )
    negatives: Literal["memory", "background", "previous_frame"] = Field(
        "memory",
        description="Negatives. memory: other instances' memories and background queries (CTVIS "
        "3.3); background: only the latter (CTVIS Table 4); previous_frame: all queries of the "
        "previous frame except the instance's own (release).",
    )
    num_background: NonNegativeInt = Field(99, description="Background queries among negatives.")
    background: Literal["local", "global"] = Field(
        "local",
        description="Frames from which background queries are drawn (CTVIS Table 4). local: the "
        "previous frame; global: all previous frames.",
    )
    noise: Literal["instance", "query"] = Field(
        "instance",
        description="Noise stored as an absent instance's embedding. instance: another instance's "
        "(CTVIS 3.3); query: any query's embedding, which also becomes an anchor (release).",
    )
    noise_probability: Share = Field(
        0.001,
        description="Chance of noise for an absent instance (CTVIS 3.3: 'a little chance'; "
        "release: 0.001, off by default).",
    )
    match_again: bool = Field(
        False,
        description="Match queries again for the items, with absent instances as empty masks "
        "without a class (release). false: use the matching of the losses.",
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
    convs: Count = Field(
        2, description="Shared convolutions of the tracking head (SipMask; not in the paper)."
    )
    loss: Literal["contrastive", "classification"] = Field(
        "contrastive",
        description="Embedding loss. contrastive: STC Eq. 3; classification: cross entropy over "
        "the reference instances and none (MaskTrack R-CNN; baseline of STC Tables 4 and 5).",
    )
    bidirectional: bool = Field(
        True, description="Also compare the frames with their roles swapped (STC Eq. 5)."
    )
    num_negatives: NonNegativeInt = Field(
        128, description="Locations of the reference frame drawn as negatives (STC Table 8)."
    )
    negatives_in_boxes: bool = Field(
        False, description="Draw negatives only in other instances' boxes (lowers AP: STC Table 8)."
    )
    max_positives: Count | None = Field(
        None,
        description="Positive locations drawn per reference instance (not in the paper). null: "
        "all.",
    )
    over_positives: Literal["sum", "mean"] = Field(
        "sum",
        description="Reduction over an instance's positives. sum: as printed (STC Eq. 3), up to a "
        "hundred times all other losses; mean: all instances weigh the same, as in the recipes.",
    )
    consistency: bool = Field(
        True, description="Penalize differences between an instance's kernels (STC Eq. 6)."
    )
    both_frames: bool = Field(
        False, description="Apply detection losses to both frames (CrossVIS; not in the paper)."
    )
