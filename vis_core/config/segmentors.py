"""Settings of the segmentors: backbones, sizes, decoding, selection of instances."""

from typing import Literal

from pydantic import Field

from vis_core.config.section import Section

BackboneName = Literal[
    "tiny",
    "resnet50",
    "resnet101",
    "resnet50_msra",
    "resnet101_msra",
    "swin_t",
    "swin_l",
    "convnext_l",
]


class OwnBackbone(Section):
    """A backbone whose sizes differ from the published ones."""

    family: Literal["resnet", "swin", "convnext"] = Field(description="Network family.")
    sizes: dict[str, int | float | str | list[int]] = Field(
        description="Arguments of transformers' config of that family: depths, embed_dim, ..."
    )


class Mask2FormerSettings(Section):
    """Architecture of a Mask2Former; the defaults are those of the paper with ResNet-50."""

    backbone: BackboneName | OwnBackbone = Field(
        "resnet50", description="Feature extractor: a published one, or a family and its sizes."
    )
    num_queries: int = Field(
        100, ge=1, description="Number of queries, Q (paper: 100 for R50, 200 for Swin-L)."
    )
    hidden_width: int = Field(256, ge=8, description="Channels of queries and pixel features.")
    num_heads: int = Field(8, ge=1, description="Attention heads.")
    encoder_layers: int = Field(6, ge=1, description="Deformable encoder layers.")
    encoder_ffn_width: int = Field(1024, ge=8, description="Hidden channels of the encoder's FFN.")
    decoder_layers: int = Field(9, ge=1, description="Masked-attention decoder layers.")
    decoder_ffn_width: int = Field(2048, ge=8, description="Hidden channels of the decoder's FFN.")
    num_points: int = Field(
        12544, ge=16, description="Sampled points of the matching and the mask losses (paper)."
    )
    no_object_weight: float = Field(0.1, gt=0, le=1, description="Class weight of no object.")
    train_batch_norm: bool = Field(
        False, description="Learn batch-norm statistics; only for training from scratch."
    )


class DeformableDetrSettings(Section):
    """Architecture of IDOL's Deformable DETR; the defaults are the release's with ResNet-50."""

    backbone: BackboneName | OwnBackbone = Field(
        "resnet50", description="Feature extractor: a published one, or a family and its sizes."
    )
    num_queries: int = Field(300, ge=10, description="Number of queries, Q (IDOL 4.1).")
    hidden_width: int = Field(
        256, ge=32, multiple_of=32, description="Channels of queries and features."
    )
    num_heads: int = Field(8, ge=1, description="Attention heads.")
    encoder_layers: int = Field(6, ge=1, description="Deformable encoder layers.")
    encoder_ffn_width: int = Field(1024, ge=8, description="Hidden channels of the encoder's FFN.")
    # transformers cannot build a decoder of one layer
    decoder_layers: int = Field(6, ge=2, description="Deformable decoder layers.")
    decoder_ffn_width: int = Field(1024, ge=8, description="Hidden channels of the decoder's FFN.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout in training (Deformable DETR).")
    mask_channels: int = Field(
        8, ge=1, description="Channels of the mask features (released IDOL)."
    )
    dynamic_channels: int = Field(
        8, ge=1, description="Channels inside the dynamic mask head (IDOL 3.1)."
    )
    frozen_stages: int = Field(
        2,
        ge=0,
        le=5,
        description="Stages of a ResNet that are not trained, from the stem on (detectron2: 2).",
    )


class DecodingConfig(Section):
    """Decoding of the feature maps into detections (CondInst; STC 3.5)."""

    score_threshold: float = Field(
        0.03,
        ge=0,
        lt=1,
        description="Threshold on class score times centre-ness, before the square root (STC 3.5: "
        "0.03; CondInst: 0.05).",
    )
    threshold_with_center: bool = Field(
        True,
        description="Multiply by centre-ness before the threshold (CondInst: yes).",
    )
    candidates: int = Field(
        1000, ge=1, description="Best pairs of location and class of a level that enter NMS."
    )
    nms_iou: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Box IoU above which the weaker detection of a class is removed (STC 3.5: 0.5; "
        "CondInst: 0.6).",
    )
    max_instances: int = Field(
        10, ge=1, description="Instances kept per frame (STC 3.5: 10; CondInst: 100)."
    )


class CondInstSettings(Section):
    """Architecture of a CondInst; the defaults are AdelaiDet's with ResNet-50."""

    backbone: BackboneName | OwnBackbone = Field(
        "resnet50_msra",
        description="Feature extractor: a published one, or a family and its sizes.",
    )
    width: int = Field(
        256, ge=32, multiple_of=32, description="Channels of the pyramid and of the towers."
    )
    tower_convs: int = Field(4, ge=1, description="Convolutions of the class and the box tower.")
    mask_branch_width: int = Field(128, ge=8, description="Channels of the mask branch.")
    mask_branch_convs: int = Field(4, ge=0, description="Convolutions after the levels are summed.")
    mask_channels: int = Field(8, ge=1, description="Channels of the mask features (STC Table 7).")
    relative_coordinates: bool = Field(
        True,
        description="Add coordinates relative to the instance to the mask features (STC Table 7).",
    )
    dynamic_layers: int = Field(
        3, ge=1, description="Convolutions whose kernels are generated (STC Table 6)."
    )
    dynamic_channels: int = Field(8, ge=1, description="Channels between these convolutions.")
    semantic_loss: bool = Field(
        False, description="Also train the mask branch to classify pixels (CondInst)."
    )
    frozen_stages: int = Field(
        2,
        ge=0,
        le=5,
        description="Stages of a ResNet that are not trained, from the stem on (detectron2: 2).",
    )
    decoding: DecodingConfig = Field(default_factory=DecodingConfig)


class SelectionConfig(Section):
    """Selection of the predictions of a frame."""

    score_threshold: float = Field(
        0.01, ge=0, le=1, description="Score that a prediction must exceed (released CTVIS: 0.01)."
    )
    nms_iou: float = Field(
        0.6,
        gt=0,
        le=1,
        description="Mask IoU above which the weaker prediction is removed (released CTVIS; IDOL "
        "3.3: 0.5, released IDOL 0.3 for OVIS).",
    )
    box_nms_iou: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Box IoU above which the weaker prediction of a class is removed before masks "
        "are computed (released IDOL: 0.9; not in the papers). null: no box NMS.",
    )
    iou_smoothing_pixels: float = Field(
        0.0,
        ge=0,
        description="Added to intersection and union of two masks. With released IDOL's 1e-6 the "
        "weaker of two empty masks is removed; with 0 both stay.",
    )

    @classmethod
    def idol(cls) -> "SelectionConfig":
        """Returns IDOL 3.3 as printed; the score threshold is that of the release."""
        return cls(score_threshold=0.1, nms_iou=0.5)

    @classmethod
    def idol_released(cls, nms_iou: float = 0.5) -> "SelectionConfig":
        """Returns the settings of the authors' code; ``nms_iou`` is 0.3 for OVIS."""
        return cls(score_threshold=0.1, nms_iou=nms_iou, box_nms_iou=0.9, iou_smoothing_pixels=1e-6)
