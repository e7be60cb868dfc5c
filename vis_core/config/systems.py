"""The schema of everything that vis_core can be told. Defaults live here once, with their source.

The paper's form is the default; where the authors' release differs, it is a named choice.
Reading files and command lines is ``pipelines/config/run.py``.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vis_core.config.association import NAMED_ASSOCIATIONS, AssociationConfig
from vis_core.config.contrastive import CtvisItemsConfig
from vis_core.config.criterion import (
    BoundaryConfig,
    LocationLossConfig,
    LocationMatchingConfig,
    QualityConfig,
    TransportConfig,
)
from vis_core.config.segmentors import (
    CondInstSettings,
    DeformableDetrSettings,
    Mask2FormerSettings,
    SelectionConfig,
)
from vis_core.config.stc_settings import StcTrackingConfig


class QueryLossWeights(BaseModel):
    """Weighs the losses of a Mask2Former."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_: float = Field(2.0, ge=0, alias="class", description="Cross entropy (Mask2Former).")
    mask: float = Field(5.0, ge=0, description="Binary cross entropy of masks (Mask2Former).")
    dice: float = Field(5.0, ge=0, description="Dice of masks (Mask2Former).")


class CtvisLossWeights(QueryLossWeights):
    """Weighs the losses of CTVIS Eq. 6."""

    embed: float = Field(2.0, ge=0, description="Contrastive loss (CTVIS 4.1: lambda_emb).")
    embed_cosine: float = Field(
        0.0, ge=0, description="Auxiliary cosine loss; the release has 3.0, the paper none."
    )


class IdolLossWeights(BaseModel):
    """Weighs the losses of IDOL Eq. 2; ``released`` gives those of the authors' code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_: float = Field(1.0, ge=0, alias="class", description="Focal loss (IDOL Eq. 2).")
    box: float = Field(2.0, ge=0, description="L1 of boxes (IDOL 3.1: lambda_1; released 5).")
    giou: float = Field(2.0, ge=0, description="GIoU of boxes (IDOL 3.1: lambda_1).")
    mask: float = Field(2.0, ge=0, description="Focal loss of masks (IDOL 3.1: lambda_1).")
    dice: float = Field(2.0, ge=0, description="Dice of masks (IDOL 3.1: lambda_1; released 5).")
    embed: float = Field(
        1.0, ge=0, description="Contrastive loss (IDOL 3.1: lambda_2; released 2)."
    )
    embed_cosine: float = Field(
        0.0, ge=0, description="Auxiliary cosine loss; the release has 3, the paper none."
    )

    @classmethod
    def released(cls) -> "IdolLossWeights":
        """Gives the weights of the authors' code."""
        return cls.model_validate(
            {"class": 2, "box": 5, "giou": 2, "mask": 2, "dice": 5, "embed": 2, "embed_cosine": 3}
        )


class StcLossWeights(BaseModel):
    """Weighs the losses of STC Eq. 7; those of CondInst weigh 1 (AdelaiDet)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    class_: float = Field(1.0, ge=0, alias="class", description="Focal loss of places.")
    box: float = Field(1.0, ge=0, description="GIoU of boxes.")
    center: float = Field(1.0, ge=0, description="Binary cross entropy of centre-ness.")
    mask: float = Field(1.0, ge=0, description="Dice of masks.")
    semantic: float = Field(1.0, ge=0, description="Classes of pixels, with semantic_loss.")
    track: float = Field(0.2, ge=0, description="Embeddings (STC 4.3: lambda_b).")
    consistency: float = Field(10.0, ge=0, description="Kernels (STC 4.3: lambda_c).")


class BaseSystemConfig(BaseModel):
    """What all systems have in common.

    A section that a run file states in part is filled with the defaults of its system; without that
    it would be filled with those of the section's class, which are CTVIS's. Association may also be
    the name of one (``NAMED_ASSOCIATIONS``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    selection: SelectionConfig = Field(default_factory=SelectionConfig)
    association: AssociationConfig = Field(default_factory=AssociationConfig)
    test_short_side: int = Field(480, ge=32, description="Pixels at test (CTVIS 4: 480).")
    test_max_long_side: int = Field(1333, ge=32, description="Pixels at test (released CTVIS).")

    def for_inference(self) -> Self:
        """Leaves out the parts that only training uses; most systems have none."""
        return self

    @model_validator(mode="before")
    @classmethod
    def _fill_sections_stated_in_part(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        filled: dict[str, Any] = {}
        named = values.get("association")
        if isinstance(named, str):
            if named not in NAMED_ASSOCIATIONS:
                known = ", ".join(NAMED_ASSOCIATIONS)
                raise ValueError(f"association {named!r}: expected a section or one of {known}")
            filled["association"] = NAMED_ASSOCIATIONS[named]().model_dump(mode="json")
        for name in ("association", "selection"):
            if isinstance(values.get(name), Mapping):
                own = cls.model_fields[name].get_default(call_default_factory=True)
                filled[name] = own.model_dump(mode="json", by_alias=True) | dict(values[name])
        return {**values, **filled}


class AddOnsConfig(BaseSystemConfig):
    """Adds to a system of queries what the 1st place of the long-video challenge added."""

    boundary: BoundaryConfig | None = Field(
        None, description="Boundary branch, in training only (1st place 2.2)."
    )
    quality: QualityConfig | None = Field(
        None, description="Quality assessment module, by default in training only (1st place 2.3)."
    )

    def for_inference(self) -> Self:
        """Leaves out the parts that only training uses."""
        quality = self.quality if self.quality and self.quality.rescore else None
        return self.model_copy(update={"boundary": None, "quality": quality})


class QuerySystemConfig(AddOnsConfig):
    """What CTVIS and MinVIS have in common."""

    segmentor: Mask2FormerSettings = Field(default_factory=Mask2FormerSettings)
    loss_weights: QueryLossWeights = Field(default_factory=QueryLossWeights)


class MinvisConfig(QuerySystemConfig):
    """MinVIS: all queries, latest memory, cosine similarity, Hungarian without a floor."""

    name: Literal["minvis"] = "minvis"
    association: AssociationConfig = Field(default_factory=AssociationConfig.minvis)
    selection: SelectionConfig = Field(
        default_factory=lambda: SelectionConfig(score_threshold=0.0, nms_iou=1.0),
        description="All queries are followed (MinVIS 3.3): no threshold or NMS.",
    )


class CtvisConfig(QuerySystemConfig):
    """CTVIS: Mask2Former, an embedding head, contrastive items through the memory."""

    name: Literal["ctvis"] = "ctvis"
    loss_weights: CtvisLossWeights = Field(default_factory=CtvisLossWeights)
    embedding_width: int = Field(256, ge=8, description="C of the embedding head (CTVIS 3.1).")
    items: CtvisItemsConfig = Field(default_factory=CtvisItemsConfig)


class IdolConfig(AddOnsConfig):
    """IDOL: Deformable DETR with a dynamic mask head, pairs of frames, optimal transport."""

    name: Literal["idol"] = "idol"
    segmentor: DeformableDetrSettings = Field(default_factory=DeformableDetrSettings)
    selection: SelectionConfig = Field(default_factory=SelectionConfig.idol)
    association: AssociationConfig = Field(default_factory=AssociationConfig.idol)
    loss_weights: IdolLossWeights = Field(default_factory=IdolLossWeights)
    matching: TransportConfig = Field(default_factory=TransportConfig)
    embedding_width: int = Field(256, ge=8, description="C of the embedding head (released IDOL).")
    test_short_side: int = Field(
        360, ge=32, description="Pixels at test (IDOL 4.1: 360; released 480, OVIS 720)."
    )


class StcConfig(BaseSystemConfig):
    """STC: CondInst, a tracking head, two frames compared in both directions, several cues."""

    name: Literal["stc"] = "stc"
    segmentor: CondInstSettings = Field(default_factory=CondInstSettings)
    selection: SelectionConfig = Field(
        default_factory=lambda: SelectionConfig(score_threshold=0.0, nms_iou=1.0),
        description="After segmentor.decoding, which does what STC 3.5 says; keeps all of it.",
    )
    association: AssociationConfig = Field(default_factory=AssociationConfig.stc)
    loss_weights: StcLossWeights = Field(default_factory=StcLossWeights)
    matching: LocationMatchingConfig = Field(default_factory=LocationMatchingConfig)
    criterion: LocationLossConfig = Field(default_factory=LocationLossConfig)
    tracking: StcTrackingConfig = Field(default_factory=StcTrackingConfig)
    test_short_side: int = Field(360, ge=32, description="Pixels at test (STC 4.3: 640x360).")
    test_max_long_side: int = Field(640, ge=32, description="Pixels at test (STC 4.3: 640x360).")


AnySystemConfig = CtvisConfig | MinvisConfig | IdolConfig | StcConfig
SystemConfig = Annotated[AnySystemConfig, Field(discriminator="name")]


def tiny_segmentor(train_batch_norm: bool = False) -> Mask2FormerSettings:
    """Sizes the segmentor that trains on a laptop's CPU; about one million weights (ours)."""
    return Mask2FormerSettings(
        backbone="tiny",
        num_queries=20,
        hidden_width=64,
        num_heads=4,
        encoder_layers=2,
        encoder_ffn_width=128,
        decoder_layers=3,
        decoder_ffn_width=192,
        num_points=768,
        train_batch_norm=train_batch_norm,
    )


def tiny_minvis(train_batch_norm: bool = False) -> MinvisConfig:
    """Is the system that the shipped start weights are trained with."""
    return MinvisConfig(
        segmentor=tiny_segmentor(train_batch_norm), test_short_side=128, test_max_long_side=384
    )


def tiny_idol() -> IdolConfig:
    """Sizes an IDOL that trains on a laptop's CPU (ours)."""
    return IdolConfig(
        segmentor=DeformableDetrSettings(
            backbone="tiny",
            num_queries=30,
            hidden_width=64,
            num_heads=4,
            encoder_layers=2,
            encoder_ffn_width=128,
            decoder_layers=3,
            decoder_ffn_width=192,
            dropout=0.0,
            frozen_stages=0,
        ),
        embedding_width=64,
        test_short_side=128,
        test_max_long_side=384,
    )


def tiny_stc() -> StcConfig:
    """Sizes an STC that trains on a laptop's CPU (ours)."""
    return StcConfig(
        segmentor=CondInstSettings(
            backbone="tiny",
            width=64,
            tower_convs=2,
            mask_branch_width=32,
            mask_branch_convs=2,
            frozen_stages=0,
        ),
        tracking=StcTrackingConfig(width=64, over_positives="mean"),
        test_short_side=128,
        test_max_long_side=384,
    )
