"""Association of instances with tracks over time, without images or ground truth."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vis_core.association.assignment import ASSIGNMENTS, Assignment
from vis_core.association.memory import MemoryBank
from vis_core.association.similarity import SIMILARITIES
from vis_core.config.association import AssociationConfig
from vis_core.structures import Instances, without_masks


class Associator:
    """The tracker of one video: associates frames with the past (IDOL 3.3, CTVIS 3.2, STC 3.5)."""

    def __init__(self, config: AssociationConfig) -> None:
        self.config = config
        self.memory = MemoryBank(config)

    def reset(self) -> None:
        """Forgets all tracks; the next frame starts a new video."""
        self.memory.reset()

    def state(self) -> dict[str, Tensor]:
        """Returns the memory as tensors, for ``restore`` in another process."""
        return self.memory.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restores the ``state`` of an associator with the same config."""
        self.memory.restore(state)

    def step(self, instances: Instances) -> tuple[Instances, Tensor]:
        """Associates the next frame; returns the instances with tracks and their int64 ids."""
        track_ids = self.associate(instances)
        kept = track_ids >= 0
        return instances[kept], track_ids[kept]

    @torch.no_grad()
    def associate(self, instances: Instances) -> Tensor:
        """Associates the next frame's instances, given in descending order of score.

        Masks are not used. Returns (N,) int64 track ids, -1 for instances without a track.
        """
        assignment = self._assign(instances)
        starts = assignment.may_start & (instances.scores > self._start_score())
        track_ids = torch.full_like(assignment.row, -1)
        if len(self.memory):
            track_ids = torch.where(assignment.matched, self.memory.ids[assignment.row], track_ids)
        track_ids[starts] = self.memory.new_ids(int(starts.sum())).to(track_ids.device)
        is_kept = assignment.matched | starts
        ids = track_ids[is_kept]
        if len(self.memory) or len(ids):
            kept = without_masks(instances)[is_kept]
            self.memory.write(ids, kept.embeddings, kept.scores, kept.boxes, kept.labels)
        return track_ids

    def _start_score(self) -> float:
        """Returns the score that an instance must exceed to start a track."""
        first = self.config.first_track_score
        return self.config.new_track_score if len(self.memory) or first is None else first

    def _assign(self, instances: Instances) -> Assignment:
        """Assigns the tracks in memory; if there are none, every instance may start a track."""
        if not len(self.memory):
            return Assignment.empty(len(instances), instances.scores.device)
        scores, floor = SIMILARITIES[self.config.similarity](instances, self.memory)
        seen = self.memory.seen if self.config.frame_weighting else None
        return ASSIGNMENTS[self.config.assignment](scores, floor, seen)
