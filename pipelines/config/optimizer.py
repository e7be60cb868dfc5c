"""Optimizer settings, defined without torch because run files are parsed before torch loads."""

from typing import Literal

from pydantic import Field

from vis_core.config.section import Section

Precision = Literal["float32", "bfloat16"]


class OptimizerSettings(Section):
    """A stage's optimizer, with the defaults of CTVIS and Mask2Former."""

    name: Literal["adamw", "sgd", "muon"] = Field(
        "adamw",
        description="AdamW (CTVIS 4.1), SGD (STC), or Muon for matrices and kernels plus AdamW for "
        "norms, biases and embeddings (our choice for training from random weights).",
    )
    learning_rate: float = Field(1e-4, gt=0, description="Learning rate (CTVIS 4.1).")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD momentum (CondInst).")
    backbone_factor: float = Field(
        0.1, ge=0, description="The backbone's rate as a fraction of learning_rate (Mask2Former)."
    )
    weight_decay: float = Field(
        0.05, ge=0, description="Weight decay (Mask2Former; IDOL's release: 1e-4)."
    )
    decay_norms_and_embeddings: bool = Field(
        False, description="Apply weight decay to norms and embeddings too, as IDOL's release does."
    )
    clip_norm: float = Field(0.01, gt=0, description="Maximum gradient norm (Mask2Former).")
    warmup_steps: int = Field(0, ge=0, description="Steps of linear warm-up.")
    warmup_from: float = Field(
        0.0, ge=0, le=1, description="Fraction of the rate at which warm-up starts (SipMask: 1/80)."
    )
    schedule: Literal["steps", "cosine"] = Field(
        "steps", description="Step decay (CTVIS 4.1), or half a cosine down to 1 % of the rate."
    )
    decay_at: tuple[float, ...] = Field(
        (0.375, 0.75),
        description="Fractions of all steps after which the rate is divided by 10 (CTVIS 4.1: "
        "after 6,000 and 12,000 of 16,000 steps).",
    )
