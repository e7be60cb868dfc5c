"""The running mean (EMA) of the weights during training; it becomes the stage's model."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vis_core.models.systems.base import System
from vis_core.models.systems.build import read_weights

_FILE = "averaged.safetensors"


class AveragedWeights:
    """The mean of a system's weights: ``mean = decay * mean + (1 - decay) * weights`` at each step.

    Buffers are copied from the system. The first step sets the mean to the weights. The decay is in
    (0, 1).
    """

    def __init__(self, system: System, decay: float) -> None:
        self._model = AveragedModel(system, multi_avg_fn=get_ema_multi_avg_fn(decay))

    @property
    def system(self) -> System:
        """The system with the mean weights."""
        system: Any = self._model.module
        assert isinstance(system, System)
        return system

    def update(self, system: System) -> None:
        """Updates the mean with the weights after a step."""
        self._model.update_parameters(system)

    def save(self, folder: Path) -> dict[str, int]:
        """Writes the mean into a checkpoint and returns its entry in the state file."""
        weights = {name: value.contiguous() for name, value in self.system.state_dict().items()}
        save_file(weights, folder / _FILE)
        return {"steps": int(self._model.n_averaged)}

    def restore(self, folder: Path, state: dict[str, int]) -> None:
        """Restores the mean from a checkpoint."""
        self.system.load_state_dict(read_weights(folder / _FILE))
        self._model.n_averaged.fill_(state["steps"])


def load_averaged(system: System, folder: Path) -> None:
    """Loads a checkpoint's mean weights, if it has any, into a system."""
    if (folder / _FILE).is_file():
        with torch.no_grad():
            system.load_state_dict(read_weights(folder / _FILE))
