"""The papers' ablation tables, as changes to a run file. This module imports no large libraries."""

from dataclasses import dataclass
from functools import partial

Overrides = tuple[str, ...]


@dataclass(frozen=True)
class AblationRow:
    """One row of a table, as ``dotted.key=value`` changes to the run file."""

    name: str  # as in the paper
    training: Overrides = ()  # rows with equal changes share a model
    inference: Overrides = ()  # changes to ``system`` or ``inference``, with the same weights
    fused: tuple[str, ...] = ()  # earlier rows to fuse; a row that fuses others trains nothing


@dataclass(frozen=True)
class AblationTable:
    """A paper's table, with its rows in the paper's order."""

    title: str  # paper, number and subject
    preset: str  # the run file that the rows change
    rows: tuple[AblationRow, ...]
    scenes: Overrides = ()  # changes to all rows, for scenes like the paper's data set
    note: str = ""  # differences from the paper's table


_IOU = ("system.matching.selection=iou",)
_OT = ("system.matching.selection=transport",)
_MULTI_CUES = ("system.association=multi_cues",)
_EMBEDDINGS = ("system.association=embeddings",)
_TEMPORAL = ("system.association=idol",)
_IDOL_ROWS = (
    AblationRow("contrastive, multi-cues", _IOU, _MULTI_CUES),
    AblationRow("contrastive, embeddings", _IOU, _EMBEDDINGS),
    AblationRow("contrastive + OT, embeddings", _OT, _EMBEDDINGS),
    AblationRow("contrastive + OT, embeddings, temporal", _OT, _TEMPORAL),
)
_QUALITY = ("system.quality={}",)
_BOUNDARY = (*_QUALITY, "system.boundary={}")
_NO_PAIRS = ("stages.1.name=more_images", "stages.1.clips=images")
_SCALES = ('inference.views=["128", "160", "192"]',)


def _changes(section: str, **settings: object) -> Overrides:
    """Returns settings of a section of ``system`` as ``dotted.key=value`` changes."""
    return tuple(
        f"system.{section}.{name}={str(value).lower()}" for name, value in settings.items()
    )


_tracking = partial(_changes, "tracking")
_segmentor = partial(_changes, "segmentor")
_NO_CONTRAST = {"loss": "classification"}
_ONE_WAY = {"bidirectional": False}
_UNLIKE = _tracking(consistency=False)
_NO_ID_HEAD = "the rows of the ID head are left out, because no released code contains it"

TABLES: dict[str, AblationTable] = {
    "idol_6": AblationTable(
        "IDOL Table 6: contrastive learning and inference (YouTube-VIS)",
        "idol_tiny",
        _IDOL_ROWS,
        note=_NO_ID_HEAD,
    ),
    "idol_7": AblationTable(
        "IDOL Table 7: contrastive learning and inference on crowded scenes (OVIS)",
        "idol_tiny",
        _IDOL_ROWS,
        scenes=("synthetic.scene.min_objects=5", "synthetic.scene.max_objects=8"),
        note=_NO_ID_HEAD,
    ),
    "stc_4": AblationTable(
        "STC Table 4: consistency, contrastive learning, both directions",
        "stc_tiny",
        (
            AblationRow("baseline", (*_tracking(**_NO_CONTRAST, **_ONE_WAY), *_UNLIKE)),
            AblationRow("+ consistency", _tracking(**_NO_CONTRAST, **_ONE_WAY)),
            AblationRow("+ contrastive", _tracking(**_ONE_WAY)),
            AblationRow("+ both directions"),
        ),
    ),
    "stc_5": AblationTable(
        "STC Table 5: contrastive learning, both directions, width of the embeddings",
        "stc_tiny",
        (
            *(
                AblationRow(f"width {width}", _tracking(width=width, **_NO_CONTRAST, **_ONE_WAY))
                for width in (64, 128, 256)
            ),
            AblationRow("contrastive, width 256", _tracking(width=256, **_ONE_WAY)),
            AblationRow("both directions, width 256", _tracking(width=256, **_NO_CONTRAST)),
            AblationRow("contrastive, both directions, width 256", _tracking(width=256)),
        ),
    ),
    "stc_6": AblationTable(
        "STC Table 6: convolutions of the kernel generator, consistency",
        "stc_tiny",
        (
            *(
                AblationRow(f"{count} convolutions", (*_segmentor(dynamic_layers=count), *_UNLIKE))
                for count in (1, 2, 3, 4)
            ),
            AblationRow("3 convolutions, consistency"),
        ),
        note="the rows count the convolutions with generated kernels, as CondInst's table does",
    ),
    "stc_7": AblationTable(
        "STC Table 7: relative coordinates, channels of the mask features",
        "stc_tiny",
        (
            *(
                AblationRow(
                    f"{count} channels",
                    _segmentor(mask_channels=count, relative_coordinates=False),
                )
                for count in (1, 4, 8, 16)
            ),
            AblationRow("8 channels, coordinates"),
        ),
    ),
    "stc_8": AblationTable(
        "STC Table 8: number and place of negatives",
        "stc_tiny",
        (
            *(
                AblationRow(f"{count} negatives", _tracking(num_negatives=count))
                for count in (0, 64, 128, 256)
            ),
            AblationRow("128 negatives in boxes", _tracking(negatives_in_boxes=True)),
        ),
        note="without negatives, the loss of Eq. 3 is 0, so the first row learns no embeddings",
    ),
    "winner_1": AblationTable(
        "1st place Table 2: quality module, boundary branch, ensemble",
        "idol_tiny",
        (
            AblationRow("baseline"),
            AblationRow("+ quality", _QUALITY),
            AblationRow("+ boundary", _BOUNDARY),
            AblationRow("+ ensemble", fused=("baseline", "+ quality", "+ boundary")),
        ),
        note="the report does not name its ensemble's models; here they are the three rows above",
    ),
    "winner_2": AblationTable(
        "2nd place Table 2: pseudo pairs, several scales, ensemble",
        "idol_tiny",
        (
            AblationRow("baseline", _NO_PAIRS),
            AblationRow("+ pseudo pairs"),
            AblationRow("+ multi-scale", (), _SCALES),
            AblationRow("other model", ("system.segmentor.decoder_layers=4",), _SCALES),
            AblationRow("+ multi-model", fused=("+ multi-scale", "other model")),
        ),
        note="the baseline trains on still images instead of pairs, for the same number of steps; "
        "the other model has four decoder layers, where the report uses a ConvNeXt-L backbone",
    ),
}
