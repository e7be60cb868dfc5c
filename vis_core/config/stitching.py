"""Settings for stitching segments.

Values marked "measured" come from ``make bench-stitching`` with its tuning seeds.
"""

from typing import Any

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from vis_core.config.association import AssociationConfig
from vis_core.config.section import Count, PositiveShare, Section


class StitchConfig(Section):
    """Joining of identities across overlapping segments of one video."""

    overlap_frames: Count = Field(
        16, description="Extra frames processed before a segment's start (measured: 4, 8, 16, 32)."
    )
    mask_weight: PositiveFloat = Field(
        0.5,
        description="Weight of two tracks' IoU over the overlap (measured: 2 loses more tracks, as "
        "segments only agree near the end of the overlap, where the embeddings come from).",
    )
    similarity_weight: NonNegativeFloat = Field(
        1.0, description="Weight of the embeddings' cosine; the other weights are relative to it."
    )
    label_weight: NonNegativeFloat = Field(
        0.25, description="Weight of class equality (measured: no difference from 0 to 1)."
    )
    min_mask_iou: PositiveShare = Field(
        0.01,
        description="Minimum IoU over the overlap for masks to join two tracks; low, since both "
        "segments have the same pixels (measured: 0.05 and above lose more tracks).",
    )
    min_similarity: float | None = Field(
        0.5,
        ge=-1,
        le=1,
        description="Minimum cosine for embeddings alone to join a track hidden in the overlap to "
        "a later one (measured: 0.5 to 0.7; 0.9 loses many tracks). null: any.",
    )
    reach_frames: NonNegativeInt | None = Field(
        None,
        description="Frames without either track that embeddings alone may bridge (measured: 60 "
        "loses returning tracks). null: any number, like the papers' memory.",
    )

    def following(self, association: AssociationConfig) -> "StitchConfig":
        """Returns the settings that join hidden tracks where the association itself would.

        The threshold is omitted if the association has none (MinVIS), and equals the association's
        if that is a cosine. The reach is no longer than the association's memory.
        """
        changes: dict[str, Any] = {}
        if association.match_threshold is None:
            changes["min_similarity"] = None
        elif association.similarity == "cosine":
            changes["min_similarity"] = association.match_threshold
        limits = [self.reach_frames, association.max_unseen_frames]
        changes["reach_frames"] = min((x for x in limits if x is not None), default=None)
        return self.model_copy(update=changes)
