"""Segmentor settings: backbones, sizes, decoding, instance selection."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from vis_core.config.section import Count, PositiveShare, Section, Share

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
    sizes: dict[str, bool | int | float | str | list[int]] = Field(
        description="Arguments of the family's config class in transformers: depths, embed_dim, ..."
    )


class BackboneOnly(Section):
    """The config of a folder that contains a backbone without a segmentor."""

    backbone: BackboneName | OwnBackbone = Field(description="Feature extractor.")


class Mask2FormerSettings(Section):
    """Architecture of Mask2Former; the defaults are the paper's with ResNet-50."""

    name: Literal["mask2former"] = Field(
        "mask2former", description="The segmentor's name; may be left out where it is the default."
    )
    backbone: BackboneName | OwnBackbone = Field(
        "resnet50", description="Feature extractor: a published network, or a family and its sizes."
    )
    num_queries: Count = Field(
        100, description="Number of queries, Q (paper: 100 for R50, 200 for Swin-L)."
    )
    hidden_width: int = Field(256, ge=8, description="Channels of queries and pixel features.")
    num_heads: Count = Field(8, description="Attention heads.")
    encoder_layers: Count = Field(6, description="Deformable encoder layers.")
    encoder_ffn_width: int = Field(1024, ge=8, description="Hidden channels of the encoder's FFN.")
    decoder_layers: Count = Field(9, description="Masked-attention decoder layers.")
    decoder_ffn_width: int = Field(2048, ge=8, description="Hidden channels of the decoder's FFN.")
    num_points: int = Field(
        12544, ge=16, description="Points sampled for matching and mask losses (paper)."
    )
    no_object_weight: PositiveShare = Field(0.1, description="Weight of the no-object class.")
    train_batch_norm: bool = Field(
        False, description="Learn batch-norm statistics; only for training from scratch."
    )


class DeformableDetrSettings(Section):
    """Architecture of IDOL's Deformable DETR; the defaults are the release's with ResNet-50."""

    name: Literal["deformable_detr"] = Field(
        "deformable_detr",
        description="The segmentor's name; may be left out where it is the default.",
    )
    backbone: BackboneName | OwnBackbone = Field(
        "resnet50", description="Feature extractor: a published network, or a family and its sizes."
    )
    num_queries: int = Field(300, ge=10, description="Number of queries, Q (IDOL 4.1).")
    hidden_width: int = Field(
        256, ge=32, multiple_of=32, description="Channels of queries and features."
    )
    num_heads: Count = Field(8, description="Attention heads.")
    encoder_layers: Count = Field(6, description="Deformable encoder layers.")
    encoder_ffn_width: int = Field(1024, ge=8, description="Hidden channels of the encoder's FFN.")
    # transformers cannot build a decoder with one layer
    decoder_layers: int = Field(6, ge=2, description="Deformable decoder layers.")
    decoder_ffn_width: int = Field(1024, ge=8, description="Hidden channels of the decoder's FFN.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout in training (Deformable DETR).")
    mask_channels: Count = Field(8, description="Channels of the mask features (IDOL release).")
    dynamic_channels: Count = Field(
        8, description="Channels inside the dynamic mask head (IDOL 3.1)."
    )
    frozen_stages: int = Field(
        2, ge=0, le=5, description="Frozen ResNet stages, counted from the stem (detectron2: 2)."
    )


class DecodingConfig(Section):
    """Decoding of the feature maps into detections (CondInst; STC 3.5)."""

    score_threshold: float = Field(
        0.03,
        ge=0,
        lt=1,
        description="Threshold on the class score (STC 3.5: 0.03; CondInst: 0.05).",
    )
    threshold_with_center: bool = Field(
        False,
        description="Multiply the class score by centre-ness before the threshold (configs of "
        "CondInst and CrossVIS). false: as printed (STC 3.5, as in FCOS).",
    )
    candidates: Count = Field(
        1000, description="Best location-class pairs kept per level before NMS."
    )
    nms_iou: PositiveShare = Field(
        0.5,
        description="Box IoU threshold of plain NMS within a class (STC 3.5, which cites YOLACT "
        "and its Fast NMS; SipMask: plain, 0.5; CondInst: 0.6).",
    )
    max_instances: Count = Field(
        10, description="Maximum instances per frame (STC 3.5: 10; CondInst: 100)."
    )


class CondInstSettings(Section):
    """Architecture of CondInst; the defaults are AdelaiDet's with ResNet-50."""

    backbone: BackboneName | OwnBackbone = Field(
        "resnet50_msra",
        description="Feature extractor: a published network, or a family and its sizes.",
    )
    width: int = Field(
        256, ge=32, multiple_of=32, description="Channels of the pyramid and the towers."
    )
    tower_convs: Count = Field(4, description="Convolutions per tower (class and box).")
    mask_branch_width: int = Field(128, ge=8, description="Channels of the mask branch.")
    mask_branch_convs: NonNegativeInt = Field(
        4, description="Convolutions of the mask branch after the levels are summed."
    )
    mask_channels: Count = Field(8, description="Channels of the mask features (STC Table 7).")
    relative_coordinates: bool = Field(
        True, description="Add coordinates relative to the instance (STC Table 7)."
    )
    dynamic_layers: Count = Field(
        3, description="Convolutions with generated kernels (STC Table 6)."
    )
    dynamic_channels: Count = Field(8, description="Channels between the dynamic layers.")
    semantic_loss: bool = Field(
        False, description="Also train the mask branch to classify pixels (CondInst)."
    )
    frozen_stages: int = Field(
        2, ge=0, le=5, description="Frozen ResNet stages, counted from the stem (detectron2: 2)."
    )
    decoding: DecodingConfig = Field(default_factory=DecodingConfig)


class SelectionConfig(Section):
    """Selection of a frame's predictions."""

    score_threshold: Share = Field(
        0.01, description="Score that a prediction must exceed (CTVIS release: 0.01)."
    )
    nms_iou: PositiveShare = Field(
        0.6,
        description="Mask IoU threshold of NMS (CTVIS release; IDOL 3.3: 0.5; IDOL release on "
        "OVIS: 0.3).",
    )
    box_nms_iou: PositiveShare | None = Field(
        None,
        description="Box IoU threshold of NMS within a class before masks are computed (IDOL "
        "release: 0.9; not in the papers). null: no box NMS.",
    )
    iou_smoothing_pixels: NonNegativeFloat = Field(
        0.0,
        description="Pixels added to the intersection and union of two masks. With 0, NMS keeps "
        "two empty masks; with the IDOL release's 1e-6, it removes the weaker of them.",
    )

    @classmethod
    def idol(cls) -> "SelectionConfig":
        """Returns the settings of IDOL 3.3; the score threshold comes from the release."""
        return cls(score_threshold=0.1, nms_iou=0.5)

    @classmethod
    def idol_released(cls, nms_iou: float = 0.5) -> "SelectionConfig":
        """Returns the settings of the authors' code; ``nms_iou`` is 0.3 for OVIS."""
        return cls(score_threshold=0.1, nms_iou=nms_iou, box_nms_iou=0.9, iou_smoothing_pixels=1e-6)
