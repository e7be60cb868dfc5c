"""Names instances over time. Knows no images and no ground truth (law 2)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vis_core.association.assignment import ASSIGNMENTS, Claim
from vis_core.association.memory import MemoryBank
from vis_core.association.similarity import SIMILARITIES
from vis_core.config.association import AssociationConfig
from vis_core.structures import Instances, without_masks


class Associator:
    """Names the instances of one frame after the tracks of the past.

    IDOL 3.3, CTVIS 3.2, STC 3.5.
    """

    def __init__(self, config: AssociationConfig) -> None:
        self.config = config
        self.memory = MemoryBank(config)

    def reset(self) -> None:
        """Forgets the past: the next frame starts a video."""
        self.memory.reset()

    def state(self) -> dict[str, Tensor]:
        """Gives the past as tensors, for ``restore`` in another process."""
        return self.memory.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Goes on where an associator of the same config was when it gave ``state``."""
        self.memory.restore(state)

    def step(self, instances: Instances) -> tuple[Instances, Tensor]:
        """Names the instances of the next frame.

        Args:
            instances: N instances, the best score first.

        Returns:
            The instances that have a track, and their track ids, int64.
        """
        track_ids = self.associate(instances)
        kept = track_ids >= 0
        return instances[kept], track_ids[kept]

    @torch.no_grad()
    def associate(self, instances: Instances) -> Tensor:
        """Names the instances of the next frame; their masks are not looked at.

        Args:
            instances: N instances, the best score first.

        Returns:
            (N,) int64 track ids, -1 for those without a track.
        """
        claim = self._claim(instances)
        starts = claim.may_start & (instances.scores > self._start_score())
        track_ids = torch.full_like(claim.row, -1)
        if len(self.memory):
            track_ids = torch.where(claim.won, self.memory.ids[claim.row], track_ids)
        track_ids[starts] = self.memory.new_ids(int(starts.sum())).to(track_ids.device)
        kept = claim.won | starts
        ids = track_ids[kept]
        if len(self.memory) or len(ids):
            named = without_masks(instances)[kept]
            self.memory.write(ids, named.embeddings, named.scores, named.boxes, named.labels)
        return track_ids

    def _start_score(self) -> float:
        """Says which score an instance must exceed to start a track."""
        first = self.config.first_track_score
        return self.config.new_track_score if len(self.memory) or first is None else first

    def _claim(self, instances: Instances) -> Claim:
        """Compares with the memory; without one, every instance may start a track."""
        count = len(instances)
        if not len(self.memory):
            nobody = torch.zeros(count, dtype=torch.bool, device=instances.scores.device)
            return Claim(torch.zeros_like(nobody, dtype=torch.int64), nobody, ~nobody)
        scores, floor = SIMILARITIES[self.config.similarity](instances, self.memory)
        seen = self.memory.seen if self.config.frame_weighting else None
        return ASSIGNMENTS[self.config.assignment](scores, floor, seen)
