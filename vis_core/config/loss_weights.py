"""Loss weights of the systems."""

from pydantic import Field, NonNegativeFloat

from vis_core.config.section import Section


class QueryLossWeights(Section):
    """Loss weights of Mask2Former."""

    class_: NonNegativeFloat = Field(2.0, alias="class", description="Cross entropy (Mask2Former).")
    mask: NonNegativeFloat = Field(5.0, description="Binary cross entropy of masks (Mask2Former).")
    dice: NonNegativeFloat = Field(5.0, description="Dice loss of masks (Mask2Former).")


class CtvisLossWeights(QueryLossWeights):
    """Loss weights of CTVIS Eq. 6."""

    embed: NonNegativeFloat = Field(2.0, description="Contrastive loss (CTVIS 4.1: lambda_emb).")
    embed_cosine: NonNegativeFloat = Field(
        0.0, description="Auxiliary cosine loss (release: 3; not in the paper)."
    )


class IdolLossWeights(Section):
    """Loss weights of IDOL Eq. 2."""

    class_: NonNegativeFloat = Field(1.0, alias="class", description="Focal loss (IDOL Eq. 2).")
    box: NonNegativeFloat = Field(2.0, description="Box L1 loss (IDOL 3.1: lambda_1; release: 5).")
    giou: NonNegativeFloat = Field(2.0, description="Box GIoU loss (IDOL 3.1: lambda_1).")
    mask: NonNegativeFloat = Field(2.0, description="Focal loss of masks (IDOL 3.1: lambda_1).")
    dice: NonNegativeFloat = Field(
        2.0, description="Dice loss of masks (IDOL 3.1: lambda_1; release: 5)."
    )
    embed: NonNegativeFloat = Field(
        1.0, description="Contrastive loss (IDOL 3.1: lambda_2; release: 2)."
    )
    embed_cosine: NonNegativeFloat = Field(
        0.0, description="Auxiliary cosine loss (release: 3; not in the paper)."
    )

    @classmethod
    def released(cls) -> "IdolLossWeights":
        """Returns the weights of the authors' code."""
        return cls.model_validate(
            {"class": 2, "box": 5, "giou": 2, "mask": 2, "dice": 5, "embed": 2, "embed_cosine": 3}
        )


class CtvisBoxLossWeights(IdolLossWeights):
    """Loss weights of CTVIS on Deformable DETR: those of IDOL, but CTVIS's for embeddings."""

    embed: NonNegativeFloat = Field(2.0, description="Contrastive loss (CTVIS 4.1: lambda_emb).")


class IdolMaskLossWeights(CtvisLossWeights):
    """Loss weights of IDOL on Mask2Former: those of Mask2Former, and IDOL's for embeddings."""

    embed: NonNegativeFloat = Field(1.0, description="Contrastive loss (IDOL 3.1: lambda_2).")


class StcLossWeights(Section):
    """Loss weights of STC Eq. 7; the terms from CondInst have weight 1 (AdelaiDet)."""

    class_: NonNegativeFloat = Field(1.0, alias="class", description="Focal loss at locations.")
    box: NonNegativeFloat = Field(1.0, description="Box GIoU loss.")
    center: NonNegativeFloat = Field(1.0, description="Binary cross entropy of centre-ness.")
    mask: NonNegativeFloat = Field(1.0, description="Dice loss of masks.")
    semantic: NonNegativeFloat = Field(1.0, description="Pixel class loss, with semantic_loss.")
    track: NonNegativeFloat = Field(0.2, description="Embedding loss (STC 4.3: lambda_b).")
    consistency: NonNegativeFloat = Field(
        10.0, description="Kernel consistency (STC 4.3: lambda_c)."
    )
