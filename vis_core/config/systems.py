"""System settings, one class per system; ``pipelines/config/loading.py`` reads the files."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

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
    CtvisBoxLossWeights,
    CtvisLossWeights,
    IdolLossWeights,
    IdolMaskLossWeights,
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

    If a run file sets only a part of a section, the system's defaults complete it, rather than the
    defaults of the section's class, which are those of CTVIS. ``association`` may also be a name
    from ``NAMED_ASSOCIATIONS``.
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


def _match_any(schema: dict[str, Any]) -> None:
    """Changes a union's schema: a section without a name may match several members in an editor."""
    schema["anyOf"] = schema.pop("oneOf")


QuerySegmentorSettings = Annotated[
    Mask2FormerSettings | DeformableDetrSettings,
    Field(discriminator="name", json_schema_extra=_match_any),
]


class QuerySystemConfig(ExtraHeadsConfig):
    """The settings common to CTVIS, MinVIS and IDOL.

    The ``name`` in ``segmentor`` is optional if it is the system's default, and is then not stored.
    The keys of ``loss_weights`` depend on the chosen segmentor.
    """

    # the loss weights for each segmentor that the system allows, its default first
    weights_of: ClassVar[dict[str, type[Section]]]
    if TYPE_CHECKING:  # each system declares the fields in its own order, the order on disk
        segmentor: QuerySegmentorSettings
        loss_weights: QueryLossWeights | IdolLossWeights

    @model_validator(mode="before")
    @classmethod
    def _name_segmentor(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        segmentor = values.get("segmentor", {})
        if isinstance(segmentor, Mapping):
            segmentor = {"name": next(iter(cls.weights_of)), **segmentor}
        return {"loss_weights": {}, **values, "segmentor": segmentor}

    @field_validator("loss_weights", mode="before", check_fields=False)
    @classmethod
    def _read_weights_of_segmentor(cls, value: Any, info: ValidationInfo) -> Any:
        segmentor = info.data.get("segmentor")
        name = segmentor.name if segmentor else next(iter(cls.weights_of))
        return cls.weights_of[name].model_validate(value, strict=True)

    @model_serializer(mode="wrap")
    def _omit_default_segmentor_name(
        self, serialize: SerializerFunctionWrapHandler
    ) -> dict[str, Any]:
        values: dict[str, Any] = serialize(self)
        if self.segmentor.name == next(iter(self.weights_of)):
            values.get("segmentor", {}).pop("name", None)
        return values


class MinvisConfig(QuerySystemConfig):
    """MinVIS: all queries, latest embeddings, cosine similarity, Hungarian without a threshold."""

    weights_of = {"mask2former": QueryLossWeights}
    segmentor: Mask2FormerSettings = Field(default_factory=Mask2FormerSettings)
    loss_weights: QueryLossWeights = Field(default_factory=QueryLossWeights)
    name: Literal["minvis"] = "minvis"
    association: AssociationConfig = Field(default_factory=AssociationConfig.minvis)
    selection: SelectionConfig = Field(
        default_factory=lambda: SelectionConfig(score_threshold=0.0, nms_iou=1.0),
        description="Keeps all queries (MinVIS 3.3): no threshold, no NMS.",
    )


class CtvisConfig(QuerySystemConfig):
    """CTVIS: Mask2Former, an embedding head, contrastive items built with the memory."""

    weights_of = {"mask2former": CtvisLossWeights, "deformable_detr": CtvisBoxLossWeights}
    segmentor: QuerySegmentorSettings = Field(default_factory=Mask2FormerSettings)
    loss_weights: CtvisLossWeights | CtvisBoxLossWeights = Field(default_factory=CtvisLossWeights)
    name: Literal["ctvis"] = "ctvis"
    embedding_width: int = Field(256, ge=8, description="Embedding width, C (CTVIS 3.1).")
    items: CtvisItemsConfig = Field(default_factory=CtvisItemsConfig)

    @model_validator(mode="after")
    def _check_match_again(self) -> Self:
        if self.items.match_again and self.segmentor.name == "deformable_detr":
            raise ValueError(
                "items.match_again: expected false with segmentor deformable_detr, found true; an "
                "absent instance has no box that a query could be matched with"
            )
        return self


class IdolConfig(QuerySystemConfig):
    """IDOL: Deformable DETR with a dynamic mask head, pairs of frames, optimal transport."""

    name: Literal["idol"] = "idol"
    weights_of = {"deformable_detr": IdolLossWeights, "mask2former": IdolMaskLossWeights}
    segmentor: QuerySegmentorSettings = Field(default_factory=DeformableDetrSettings)
    selection: SelectionConfig = Field(default_factory=SelectionConfig.idol)
    association: AssociationConfig = Field(default_factory=AssociationConfig.idol)
    loss_weights: IdolLossWeights | IdolMaskLossWeights = Field(default_factory=IdolLossWeights)
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
        description="Short side in pixels at inference (IDOL 4.1: 360; release: 480, on OVIS 720).",
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
