"""What the contrastive items of CTVIS can be told. Imports no torch: a run file is read early.

The paper's form is the default, ``CtvisItemsConfig.released()`` is that of the authors' code.
"""

from typing import Literal

from pydantic import Field

from vis_core.config.section import Section


class CtvisItemsConfig(Section):
    """Says how contrastive items are built."""

    positives: Literal["memory", "memory_or_latest"] = Field(
        "memory",
        description="What an embedding is pulled to: the memory of its instance (CTVIS 3.3), or by "
        "a coin that or the newest embedding stored before (released).",
    )
    future_positives: bool = Field(
        False,
        description="Whether an instance that is new in a frame is compared with its first later "
        "embedding (released; the paper has an item only for what the memory knows).",
    )
    negatives: Literal["memory", "previous_frame"] = Field(
        "memory",
        description="What an embedding is pushed from: the memories of the others and background "
        "queries of the frame before (CTVIS 3.3), or all other queries of it (released).",
    )
    num_background: int = Field(
        99, ge=0, description="Background queries of the frame before that serve as negatives."
    )
    noise: Literal["instance", "query"] = Field(
        "instance",
        description="What an absent instance may receive by mistake: the embedding of another "
        "instance (CTVIS 3.3) or of any query, which then also is an anchor (released).",
    )
    noise_probability: float = Field(
        0.001,
        ge=0,
        le=1,
        description="Chance that an instance that is absent receives a wrong embedding (CTVIS 3.3: "
        "'a little chance'; the release has 0.001 where it is on, and off by default).",
    )
    match_again: bool = Field(
        False,
        description="Whether queries are matched anew for the items, with absent instances as "
        "empty masks without a class (released; by default the match of the losses serves).",
    )

    @classmethod
    def released(cls) -> "CtvisItemsConfig":
        """Gives the form of the authors' code (CTVIS configs, MOMENTUM_EMBED on, noise off)."""
        return cls(
            positives="memory_or_latest",
            future_positives=True,
            negatives="previous_frame",
            noise="query",
            noise_probability=0,
            match_again=True,
        )


class StcTrackingConfig(Section):
    """Says how embeddings and kernels of two frames are compared (STC 3.3, 3.4)."""

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
