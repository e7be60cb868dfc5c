"""What the stitching of segments can be told. Imports no torch: a run file is read early.

What is called measured was measured by ``make bench-stitching`` with its seeds for choosing.
"""

from typing import Any

from pydantic import Field

from vis_core.config.association import AssociationConfig
from vis_core.config.section import Section


class StitchConfig(Section):
    """Says how the identities of overlapping segments of one video are joined."""

    overlap_frames: int = Field(
        16,
        ge=1,
        description="Frames before its own begin that a segment walks too (measured: 4, 8, 16, "
        "32).",
    )
    mask_weight: float = Field(
        0.5,
        gt=0,
        description="What the IoU of two tracks over the overlap counts in the confidence and in "
        "who joins whom (measured: at 2 more tracks are lost, since two walks agree at the end of "
        "the overlap before they agree in all of it, and embeddings show the end).",
    )
    similarity_weight: float = Field(
        1.0, ge=0, description="What the cosine of their embeddings counts: the unit of the others."
    )
    label_weight: float = Field(
        0.25,
        ge=0,
        description="What it counts that their classes are equal; from 0 to 1, as many tracks stay "
        "right (measured).",
    )
    min_mask_iou: float = Field(
        0.01,
        gt=0,
        le=1,
        description="IoU over the overlap from which masks join two tracks; the confidence chooses "
        "among such pairs. Low, since both segments see the same pixels (measured: at 0.05 and "
        "more, more tracks are lost).",
    )
    min_similarity: float | None = Field(
        0.5,
        ge=-1,
        le=1,
        description="Cosine from which embeddings alone join a track that was hidden in the "
        "overlap with one that starts later (measured: 0.5 to 0.7, at 0.9 many are lost). None is "
        "no floor.",
    )
    reach_frames: int | None = Field(
        None,
        ge=0,
        description="Frames without either that embeddings alone may bridge; None: any number, as "
        "the memory of the papers (measured: a reach of 60 loses those who return later).",
    )

    def following(self, association: AssociationConfig) -> "StitchConfig":
        """Gives the config that joins hidden tracks where the association itself would.

        No floor where it has none (MinVIS), its own where that is a cosine, and no longer reach
        than its memory.
        """
        changes: dict[str, Any] = {}
        if association.match_threshold is None:
            changes["min_similarity"] = None
        elif association.similarity == "cosine":
            changes["min_similarity"] = association.match_threshold
        limits = [self.reach_frames, association.max_unseen_frames]
        changes["reach_frames"] = min((x for x in limits if x is not None), default=None)
        return self.model_copy(update=changes)
