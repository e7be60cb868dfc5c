"""Criterion settings: matching with the ground truth, losses, extra heads."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from vis_core.config.section import Count, PositiveShare, Section, Share


class TransportConfig(Section):
    """IDOL's matching of queries and instances; the defaults are the release's unless noted."""

    selection: Literal["transport", "iou"] = Field(
        "transport",
        description="Choice of positives and negatives. transport: optimal transport (IDOL A.2); "
        "iou: thresholds on box IoU (ablation in IDOL Table 6).",
    )
    focal_alpha: Share = Field(0.25, description="Alpha of the focal cost and losses.")
    focal_gamma: NonNegativeFloat = Field(2.0, description="Gamma of the focal cost and losses.")
    giou_weight: NonNegativeFloat = Field(
        3.0, description="Weight of the negative GIoU in the cost."
    )
    center_radius: PositiveFloat = Field(
        2.5 / 32,
        description="Half side of the centre area, as a share of the image (simOTA: 2.5 of 32).",
    )
    outside_cost: NonNegativeFloat = Field(
        100.0,
        description="Cost of a query whose centre is not in both an instance's box and its centre "
        "area.",
    )
    background_cost: NonNegativeFloat = Field(
        10000.0, description="Cost of a query whose centre is in no instance's box or centre area."
    )
    positive_ious: Count = Field(
        10,
        description="How many of an instance's best IoUs are summed; the sum is its number of "
        "positives (IDOL A.2: m1).",
    )
    negative_ious: Count = Field(
        100,
        description="How many of an instance's best IoUs are summed; the sum is the number of its "
        "cheapest queries that are no negatives (IDOL A.2: m2).",
    )
    repair_cost: PositiveFloat = Field(
        100000.0,
        description="Cost added to each query in use before an unmatched instance chooses one.",
    )
    max_repairs: NonNegativeInt = Field(
        100,
        description="Repair rounds before instances may share a query (our choice; release: no "
        "limit).",
    )
    positive_iou: PositiveShare = Field(
        0.7, description="Box IoU above which a query is positive if selection is iou (IDOL A.2)."
    )
    negative_iou: Share = Field(
        0.3, description="Box IoU below which a query is negative if selection is iou (IDOL A.2)."
    )


class BoundaryConfig(Section):
    """The boundary branch of the long-video challenge's 1st place (2.2)."""

    weight: NonNegativeFloat = Field(1.0, description="Loss weight (not in the paper; GSFM: 0.05).")
    threshold: float = Field(
        0.1,
        ge=0,
        lt=8,
        description="T_b, the threshold on the Laplacian (not in the paper; BMask R-CNN: 0.1).",
    )
    dice: Literal["squared", "plain"] = Field(
        "squared",
        description="Denominator of the dice loss. squared: sums of squares (1st place Eq. 2); "
        "plain: plain sums (BMask R-CNN and GSFM).",
    )


class QualityConfig(Section):
    """The quality assessment module of the 1st place (2.3)."""

    weight: NonNegativeFloat = Field(1.0, description="Loss weight (not in the paper; QDMN: 1).")
    rescore: bool = Field(
        False,
        description="Keep the module for inference and multiply a track's score by its predicted "
        "mask quality, which the result also lists (our addition).",
    )


class IdHeadConfig(Section):
    """CrossVIS's ID head, an alternative to contrastive learning in IDOL's Tables 6 and 7."""

    weight: NonNegativeFloat = Field(1.0, description="Loss weight (CrossVIS release).")
    num_instances: int | None = Field(
        None,
        ge=3,
        description="Instances in the training videos, M (CrossVIS on YouTube-VIS 2019: 3774). "
        "null: counted when training starts.",
    )


class LocationMatchingConfig(Section):
    """Matching of locations with true instances, as in AdelaiDet's CondInst."""

    center_sampling: bool = Field(
        True,
        description="Match only locations near an instance's centre (CondInst), rather than in its "
        "whole box (FCOS; STC 3.3 is ambiguous about the detector).",
    )
    radius: PositiveFloat = Field(1.5, description="Half side of the centre area, in strides.")
    center: Literal["mass", "box"] = Field(
        "mass", description="Centre of an instance. mass: centroid of the mask; box: box centre."
    )


class LocationLossConfig(Section):
    """Losses at the locations, as in AdelaiDet's CondInst."""

    focal_alpha: Share = Field(0.25, description="Alpha of the focal loss.")
    focal_gamma: NonNegativeFloat = Field(2.0, description="Gamma of the focal loss.")
    box_loss: Literal["giou", "iou", "linear_iou"] = Field("giou", description="Box loss.")
    box_quality: Literal["centerness", "iou"] = Field(
        "centerness", description="Centre-ness target."
    )
    class_normalizer: Literal["positives", "places", "moving"] = Field(
        "positives",
        description="Divisor of the class loss. positives: number of positives in the batch; "
        "places: number of locations; moving: moving mean of the number of positives.",
    )
    max_masks: Count | None = Field(
        500, description="Maximum positives per batch in the mask loss (CondInst). null: all."
    )
    masks_per_image: Count | None = Field(
        None,
        description="Replaces max_masks with the best positives of each image, the same number for "
        "every instance (CondInst).",
    )
