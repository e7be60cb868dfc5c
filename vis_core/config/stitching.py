"""Settings of the stitching of segments.

Values called measured come from ``make bench-stitching`` with its seeds for choosing.
"""

from typing import Any

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from vis_core.config.association import AssociationConfig
from vis_core.config.section import Count, PositiveShare, Section


class StitchConfig(Section):
    """Joining of the identities of overlapping segments of one video."""

    overlap_frames: Count = Field(
        16, description="Frames before its start in a segment (measured: 4, 8, 16, 32)."
    )
    mask_weight: PositiveFloat = Field(
        0.5,
        description="Weight of the IoU of two tracks over the overlap (measured: 2 loses more "
        "tracks: segments agree first at the end of the overlap, where the embeddings come from).",
    )
    similarity_weight: NonNegativeFloat = Field(
        1.0, description="Weight of the cosine of embeddings, the unit of the others."
    )
    label_weight: NonNegativeFloat = Field(
        0.25, description="Weight of equal classes (measured: no difference from 0 to 1)."
    )
    min_mask_iou: PositiveShare = Field(
        0.01,
        description="IoU over the overlap from which masks can join two tracks; low, since both "
        "segments have the same pixels (measured: 0.05 and above lose more tracks).",
    )
    min_similarity: float | None = Field(
        0.5,
        ge=-1,
        le=1,
        description="Cosine from which embeddings alone join a track hidden in the overlap with a "
        "later one (measured: 0.5 to 0.7; 0.9 loses many). null: any.",
    )
    reach_frames: NonNegativeInt | None = Field(
        None,
        description="Frames without either track that embeddings alone may bridge (measured: 60 "
        "loses returning tracks). null: any number, like the papers' memory.",
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
