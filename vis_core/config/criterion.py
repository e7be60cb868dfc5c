"""Settings of the criteria: matching with the ground truth, losses, extra heads."""

from typing import Literal

from pydantic import Field

from vis_core.config.section import Section


class TransportConfig(Section):
    """IDOL's matching of queries with true instances; released IDOL where no paper is named."""

    selection: Literal["transport", "iou"] = Field(
        "transport",
        description="How positives and negatives of the contrastive loss are chosen. transport: by "
        "optimal transport (IDOL A.2); iou: by thresholds on box IoU (ablation of IDOL Table 6).",
    )
    focal_alpha: float = Field(0.25, ge=0, le=1, description="Alpha of the focal cost and losses.")
    focal_gamma: float = Field(2.0, ge=0, description="Gamma of the focal cost and losses.")
    giou_weight: float = Field(3.0, ge=0, description="Weight of the negative GIoU in the cost.")
    center_radius: float = Field(
        2.5 / 32,
        gt=0,
        description="Half side of the centre area of an instance as a fraction of the image "
        "(simOTA: 2.5 cells, of which 32 span the image).",
    )
    outside_cost: float = Field(
        100.0,
        ge=0,
        description="Cost of a query whose centre is not in both the box and the centre area.",
    )
    background_cost: float = Field(
        10000.0,
        ge=0,
        description="Cost of a query whose centre is in no box or centre area of the frame.",
    )
    positive_ious: int = Field(
        10,
        ge=1,
        description="Best IoUs whose sum is the number of positives of an instance, m1 (IDOL A.2).",
    )
    negative_ious: int = Field(
        100, ge=1, description="Best IoUs whose sum is the number of non-negatives, m2 (IDOL A.2)."
    )
    repair_cost: float = Field(
        100000.0,
        gt=0,
        description="Cost added to used queries while an instance without a query is matched.",
    )
    max_repairs: int = Field(
        100,
        ge=0,
        description="Rounds after which such an instance shares its cheapest query (our choice: "
        "the release may never stop).",
    )
    positive_iou: float = Field(
        0.7,
        gt=0,
        le=1,
        description="Box IoU above which a query is positive, with selection: iou (IDOL A.2).",
    )
    negative_iou: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Box IoU below which a query is negative, with selection: iou (IDOL A.2).",
    )


class BoundaryConfig(Section):
    """The boundary branch of the 1st place of the long-video challenge (2.2)."""

    weight: float = Field(1.0, ge=0, description="Loss weight (not printed; GSFM has 0.05).")
    threshold: float = Field(
        0.1,
        ge=0,
        lt=8,
        description="Threshold on the Laplacian, T_b (not printed; BMask R-CNN has 0.1).",
    )
    dice: Literal["squared", "plain"] = Field(
        "squared",
        description="Denominator of the dice loss. squared: sums of squares as printed (1st place "
        "Eq. 2); plain: sums as in BMask R-CNN and GSFM.",
    )


class QualityConfig(Section):
    """The quality assessment module of the 1st place (2.3)."""

    weight: float = Field(1.0, ge=0, description="Loss weight (not printed; QDMN has 1).")
    rescore: bool = Field(
        False,
        description="Keep the module for inference and multiply the score of a track by its "
        "predicted mask quality, which the result also lists (our addition).",
    )


class LocationMatchingConfig(Section):
    """Matching of locations with true instances; AdelaiDet's CondInst."""

    center_sampling: bool = Field(
        True,
        description="Match only locations near the centre of an instance (CondInst), not all in "
        "its box (FCOS; STC 3.3, if that is meant for detection too).",
    )
    radius: float = Field(1.5, gt=0, description="Half side of the centre area, in strides.")
    center: Literal["mass", "box"] = Field(
        "mass", description="Centre of an instance: the centroid of its mask, or that of its box."
    )


class LocationLossConfig(Section):
    """Losses of the locations; AdelaiDet's CondInst."""

    focal_alpha: float = Field(0.25, ge=0, le=1, description="Alpha of the focal loss.")
    focal_gamma: float = Field(2.0, ge=0, description="Gamma of the focal loss.")
    box_loss: Literal["giou", "iou", "linear_iou"] = Field("giou", description="Loss of boxes.")
    box_quality: Literal["centerness", "iou"] = Field(
        "centerness", description="Target of the centre-ness of a location."
    )
    class_normalizer: Literal["positives", "places", "moving"] = Field(
        "positives",
        description="Divisor of the class loss: the positives of the batch, all locations, or a "
        "moving mean of the positives.",
    )
    max_masks: int | None = Field(
        500,
        ge=1,
        description="Positives drawn from a batch for the mask loss (CondInst). null: all.",
    )
    masks_per_image: int | None = Field(
        None,
        ge=1,
        description="Replaces max_masks by the best positives of each image, the same number for "
        "every instance (CondInst).",
    )
