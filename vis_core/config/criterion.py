"""What the criterion of IDOL can be told. Imports no torch: a run file is read early."""

from typing import Literal

from pydantic import Field

from vis_core.config.section import Section


class TransportConfig(Section):
    """Says which queries belong to which true instance; released IDOL where no paper is named."""

    selection: Literal["transport", "iou"] = Field(
        "transport",
        description="How positives and negatives of the contrastive loss are chosen: by optimal "
        "transport (IDOL A.2) or by thresholds of box IoU (ablation of IDOL Table 6).",
    )
    focal_alpha: float = Field(0.25, ge=0, le=1, description="Of the focal cost and losses.")
    focal_gamma: float = Field(2.0, ge=0, description="Of the focal cost and losses.")
    giou_weight: float = Field(3.0, ge=0, description="Weight of the negative GIoU in the cost.")
    center_radius: float = Field(
        2.5 / 32,
        gt=0,
        description="Half side of the centre area of an instance, as a share of the image "
        "(2.5 cells of simOTA, of which 32 span the image).",
    )
    outside_cost: float = Field(
        100.0,
        ge=0,
        description="Cost of a query whose centre is not both in the box and the centre area.",
    )
    background_cost: float = Field(
        10000.0,
        ge=0,
        description="Cost of a query whose centre is in no box and no centre area of the frame.",
    )
    positive_ious: int = Field(
        10, ge=1, description="IoUs whose sum is the number of positives, m1 (IDOL A.2)."
    )
    negative_ious: int = Field(
        100, ge=1, description="IoUs whose sum is the number of non-negatives, m2 (IDOL A.2)."
    )
    repair_cost: float = Field(
        100000.0,
        gt=0,
        description="Added to queries in use while an instance that has none looks for one.",
    )
    max_repairs: int = Field(
        100,
        ge=0,
        description="Rounds of that search, after which such an instance shares its cheapest "
        "query (ours: the release may search for ever).",
    )
    positive_iou: float = Field(
        0.7, gt=0, le=1, description="Box IoU above which the ablation has positives (IDOL A.2)."
    )
    negative_iou: float = Field(
        0.3, ge=0, le=1, description="Box IoU below which the ablation has negatives (IDOL A.2)."
    )


class BoundaryConfig(Section):
    """Adds the boundary branch of the 1st place of the long-video challenge (2.2) to training."""

    weight: float = Field(1.0, ge=0, description="Of the loss (not printed; GSFM has 0.05).")
    threshold: float = Field(
        0.1, ge=0, lt=8, description="T_b on the Laplacian (not printed; BMask R-CNN has 0.1)."
    )
    dice: Literal["squared", "plain"] = Field(
        "squared",
        description="Denominator of the dice loss: squares as printed (1st place Eq. 2), or plain "
        "sums as in BMask R-CNN and GSFM.",
    )


class QualityConfig(Section):
    """Adds the quality assessment module of the 1st place (2.3) to training."""

    weight: float = Field(1.0, ge=0, description="Of the loss (not printed; QDMN has 1).")
    rescore: bool = Field(
        False,
        description="Whether the module stays in the model: the score of a track is multiplied by "
        "the mask quality predicted for it, which is written beside it (ours).",
    )


class LocationMatchingConfig(Section):
    """Says which places belong to which true instance; AdelaiDet's CondInst."""

    center_sampling: bool = Field(
        True,
        description="Whether a place must be near the centre of an instance (CondInst), or may be "
        "anywhere in its box (FCOS; STC 3.3, if that is meant for detection too).",
    )
    radius: float = Field(1.5, gt=0, description="Half side of the centre area, in strides.")
    center: Literal["mass", "box"] = Field(
        "mass", description="Whether the centre is that of the mask's mass or of the box."
    )


class LocationLossConfig(Section):
    """Says how places are compared with the truth; AdelaiDet's CondInst."""

    focal_alpha: float = Field(0.25, ge=0, le=1, description="Of the focal loss.")
    focal_gamma: float = Field(2.0, ge=0, description="Of the focal loss.")
    box_loss: Literal["giou", "iou", "linear_iou"] = Field("giou", description="Of boxes.")
    box_quality: Literal["centerness", "iou"] = Field(
        "centerness", description="What the centre-ness of a place is to learn."
    )
    class_normalizer: Literal["positives", "places", "moving"] = Field(
        "positives",
        description="What the class loss is divided by: positives of the batch, all places, or a "
        "moving mean of the positives.",
    )
    max_masks: int | None = Field(
        500, ge=1, description="Positives of a batch whose masks are compared, drawn (CondInst)."
    )
    masks_per_image: int | None = Field(
        None,
        ge=1,
        description="Instead the best ones of an image, as many of each instance (CondInst).",
    )
