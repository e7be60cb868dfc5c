"""Settings of the stitching of segments.

Values called measured come from ``make bench-stitching`` with its seeds for choosing.
"""

from typing import Any

from pydantic import Field

from vis_core.config.association import AssociationConfig
from vis_core.config.section import Section


class StitchConfig(Section):
    """Joining of the identities of overlapping segments of one video."""

    overlap_frames: int = Field(
        16,
        ge=1,
        description="Frames before its start that a segment processes too (measured: 4, 8, 16, "
        "32).",
    )
    mask_weight: float = Field(
        0.5,
        gt=0,
        description="Weight of the IoU of two tracks over the overlap, in the confidence and in "
        "the assignment (measured: 2 loses more tracks, since two segments agree at the end of the "
        "overlap before they agree in all of it, and the embeddings come from the end).",
    )
    similarity_weight: float = Field(
        1.0, ge=0, description="Weight of the cosine of their embeddings, the unit of the others."
    )
    label_weight: float = Field(
        0.25,
        ge=0,
        description="Weight of equal classes (measured: no difference from 0 to 1).",
    )
    min_mask_iou: float = Field(
        0.01,
        gt=0,
        le=1,
        description="IoU over the overlap from which masks join two tracks; the confidence chooses "
        "among such pairs. Low, since both segments have the same pixels (measured: 0.05 and above "
        "lose more tracks).",
    )
    min_similarity: float | None = Field(
        0.5,
        ge=-1,
        le=1,
        description="Cosine from which embeddings alone join a track hidden in the overlap with "
        "one that starts later (measured: 0.5 to 0.7; 0.9 loses many). null: no threshold.",
    )
    reach_frames: int | None = Field(
        None,
        ge=0,
        description="Frames without either track that embeddings alone may bridge (measured: 60 "
        "loses tracks that return later). null: any number, like the memory of the papers.",
    )

    def following(self, association: AssociationConfig) -> "StitchConfig":
        """Returns the settings that join hidden tracks where the association itself would.

        The threshold is absent where the association has none (MinVIS) and equal to its threshold
        where that is a cosine; the reach is no longer than its memory.
        """
        changes: dict[str, Any] = {}
        if association.match_threshold is None:
            changes["min_similarity"] = None
        elif association.similarity == "cosine":
            changes["min_similarity"] = association.match_threshold
        limits = [self.reach_frames, association.max_unseen_frames]
        changes["reach_frames"] = min((x for x in limits if x is not None), default=None)
        return self.model_copy(update=changes)
