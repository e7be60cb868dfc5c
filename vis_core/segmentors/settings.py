"""What segmentors can be told. Imports no torch: a run file is read early."""

from pydantic import BaseModel, ConfigDict, Field

from vis_core.layers.settings import BackboneName, OwnBackbone


class Mask2FormerSettings(BaseModel):
    """Sizes a Mask2Former; the defaults are those of the paper with ResNet-50."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: BackboneName | OwnBackbone = Field(
        "resnet50", description="Feature extractor: a published one, or a family with its sizes."
    )
    num_queries: int = Field(100, ge=1, description="Q; 100 for R50, 200 for Swin-L (paper).")
    hidden_width: int = Field(256, ge=8, description="Channels of queries and pixel features.")
    num_heads: int = Field(8, ge=1, description="Attention heads.")
    encoder_layers: int = Field(6, ge=1, description="Deformable encoder layers.")
    encoder_ffn_width: int = Field(1024, ge=8, description="Channels inside the encoder's FFN.")
    decoder_layers: int = Field(9, ge=1, description="Masked-attention decoder layers.")
    decoder_ffn_width: int = Field(2048, ge=8, description="Channels inside the decoder's FFN.")
    num_points: int = Field(12544, ge=16, description="Points of matching and mask loss (paper).")
    no_object_weight: float = Field(0.1, gt=0, le=1, description="Class weight of no object.")
    train_batch_norm: bool = Field(
        False, description="Learn batch-norm statistics; only for training from nothing."
    )


class SelectionConfig(BaseModel):
    """Says which predictions of a frame are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    score_threshold: float = Field(
        0.01, ge=0, le=1, description="Score to exceed (released CTVIS: 0.01)."
    )
    nms_iou: float = Field(
        0.6, gt=0, le=1, description="Mask IoU above which the weaker one goes (released CTVIS)."
    )
