"""System settings, one class per system; ``pipelines/config/loading.py`` reads the files."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from vis_core.config.association import NAMED_ASSOCIATIONS, AssociationConfig
from vis_core.config.contrastive import CtvisItemsConfig, StcTrackingConfig
from vis_core.config.criterion import (
    BoundaryConfig,
    IdHeadConfig,
    LocationLossConfig,
    LocationMatchingConfig,
    QualityConfig,
    TransportConfig,
)
from vis_core.config.loss_weights import (
    CtvisLossWeights,
    IdolLossWeights,
    QueryLossWeights,
    StcLossWeights,
)
from vis_core.config.section import Section
from vis_core.config.segmentors import (
    CondInstSettings,
    DeformableDetrSettings,
    Mask2FormerSettings,
    SelectionConfig,
)


class BaseSystemConfig(Section):
    """The settings common to all systems.

    A section that a run file gives only in part is completed with its system's defaults, not with
    the section class's, which are CTVIS's. ``association`` may also be a name from
    ``NAMED_ASSOCIATIONS``.
    """

    selection: SelectionConfig = Field(default_factory=SelectionConfig)
    association: AssociationConfig = Field(default_factory=AssociationConfig)
    test_short_side: int = Field(
        480, ge=32, description="Short side in pixels at inference (CTVIS 4: 480)."
    )
    test_max_long_side: int = Field(
        1333, ge=32, description="Maximum long side in pixels at inference (CTVIS release)."
    )

    def for_inference(self) -> Self:
        """Returns the settings without training-only parts; most systems have none."""
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
                default = cls.model_fields[name].get_default(call_default_factory=True)
                filled[name] = default.model_dump(mode="json", by_alias=True) | dict(values[name])
        return {**values, **filled}


class ExtraHeadsConfig(BaseSystemConfig):
    """The heads that the long-video challenge's 1st place adds to a query-based system."""

    boundary: BoundaryConfig | None = Field(
        None, description="Boundary branch, used only in training (1st place 2.2)."
    )
    quality: QualityConfig | None = Field(
        None, description="Quality assessment, by default used only in training (1st place 2.3)."
    )

    def for_inference(self) -> Self:
        """Returns the settings without training-only parts."""
        quality = self.quality if self.quality and self.quality.rescore else None
        return self.model_copy(update={"boundary": None, "quality": quality})


class QuerySystemConfig(ExtraHeadsConfig):
    """The settings common to CTVIS and MinVIS."""

    segmentor: Mask2FormerSettings = Field(default_factory=Mask2FormerSettings)
    loss_weights: QueryLossWeights = Field(default_factory=QueryLossWeights)


class MinvisConfig(QuerySystemConfig):
    """MinVIS: all queries, latest memory, cosine similarity, Hungarian without a threshold."""

    name: Literal["minvis"] = "minvis"
    association: AssociationConfig = Field(default_factory=AssociationConfig.minvis)
    selection: SelectionConfig = Field(
        default_factory=lambda: SelectionConfig(score_threshold=0.0, nms_iou=1.0),
        description="Keeps all queries (MinVIS 3.3): no threshold, no NMS.",
    )


class CtvisConfig(QuerySystemConfig):
    """CTVIS: Mask2Former, an embedding head, contrastive items through the memory."""

    name: Literal["ctvis"] = "ctvis"
    loss_weights: CtvisLossWeights = Field(default_factory=CtvisLossWeights)
    embedding_width: int = Field(256, ge=8, description="Embedding width, C (CTVIS 3.1).")
    items: CtvisItemsConfig = Field(default_factory=CtvisItemsConfig)


class IdolConfig(ExtraHeadsConfig):
    """IDOL: Deformable DETR with a dynamic mask head, pairs of frames, optimal transport."""

    name: Literal["idol"] = "idol"
    segmentor: DeformableDetrSettings = Field(default_factory=DeformableDetrSettings)
    selection: SelectionConfig = Field(default_factory=SelectionConfig.idol)
    association: AssociationConfig = Field(default_factory=AssociationConfig.idol)
    loss_weights: IdolLossWeights = Field(default_factory=IdolLossWeights)
    matching: TransportConfig = Field(default_factory=TransportConfig)
    id_head: IdHeadConfig | None = Field(
        None,
        description="Instead of contrastive learning, classify the training videos' instances "
        "(CrossVIS; IDOL Tables 6 and 7). null: contrastive learning.",
    )
    embedding_width: int = Field(256, ge=8, description="Embedding width, C (IDOL release).")
    test_short_side: int = Field(
        360,
        ge=32,
        description="Short side in pixels at inference (IDOL 4.1: 360; release: 480, OVIS 720).",
    )

    def for_inference(self) -> Self:
        """Returns the settings without training-only parts."""
        return super().for_inference().model_copy(update={"id_head": None})


class StcConfig(BaseSystemConfig):
    """STC: CondInst, a tracking head, two frames compared in both directions, several cues."""

    name: Literal["stc"] = "stc"
    segmentor: CondInstSettings = Field(default_factory=CondInstSettings)
    selection: SelectionConfig = Field(
        default_factory=lambda: SelectionConfig(score_threshold=0.0, nms_iou=1.0),
        description="Keeps all detections from segmentor.decoding, as in STC 3.5.",
    )
    association: AssociationConfig = Field(default_factory=AssociationConfig.stc)
    loss_weights: StcLossWeights = Field(default_factory=StcLossWeights)
    matching: LocationMatchingConfig = Field(default_factory=LocationMatchingConfig)
    criterion: LocationLossConfig = Field(default_factory=LocationLossConfig)
    tracking: StcTrackingConfig = Field(default_factory=StcTrackingConfig)
    test_short_side: int = Field(
        360, ge=32, description="Short side in pixels at inference (STC 4.3: 640x360)."
    )
    test_max_long_side: int = Field(
        640, ge=32, description="Maximum long side in pixels at inference (STC 4.3: 640x360)."
    )


AnySystemConfig = CtvisConfig | MinvisConfig | IdolConfig | StcConfig
SystemConfig = Annotated[AnySystemConfig, Field(discriminator="name")]
