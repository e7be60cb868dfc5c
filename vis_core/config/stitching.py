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
        16, description="Extra frames processed before a segment's start (tried: 4, 8, 16, 32)."
    )
    mask_weight: PositiveFloat = Field(
        0.5,
        description="Weight of two tracks' mask IoU over the overlap. Measured: weight 2 loses "
        "more tracks than 0.5, since masks of two segments agree only near the overlap's end.",
    )
    similarity_weight: NonNegativeFloat = Field(
        1.0, description="Weight of the embeddings' cosine; the other weights are relative to it."
    )
    label_weight: NonNegativeFloat = Field(
        0.25, description="Weight of class equality (measured: 0 to 1 make no difference)."
    )
    min_mask_iou: PositiveShare = Field(
        0.01,
        description="Minimum mask IoU over the overlap for joining two tracks; low, since both "
        "segments have the same pixels (measured: 0.05 and above lose more tracks than 0.01).",
    )
    min_similarity: float | None = Field(
        0.5,
        ge=-1,
        le=1,
        description="Minimum cosine for joining a track hidden in the overlap to a later track by "
        "embeddings alone (measured: 0.9 loses many tracks, 0.5 to 0.7 do not). null: no minimum.",
    )
    reach_frames: NonNegativeInt | None = Field(
        None,
        description="Maximum frames between two tracks joined by embeddings alone (measured: with "
        "60, returning tracks are lost). null: no limit, as for the papers' memory.",
    )

    def following(self, association: AssociationConfig) -> "StitchConfig":
        """Returns the settings that join hidden tracks where the association itself would.

        ``min_similarity`` is None without a match threshold (MinVIS), and equal to the threshold if
        the similarity is a cosine. ``reach_frames`` is limited to ``max_unseen_frames``.
        """
        changes: dict[str, Any] = {}
        if association.match_threshold is None:
            changes["min_similarity"] = None
        elif association.similarity == "cosine":
            changes["min_similarity"] = association.match_threshold
        limits = [self.reach_frames, association.max_unseen_frames]
        changes["reach_frames"] = min((x for x in limits if x is not None), default=None)
        return self.model_copy(update=changes)
