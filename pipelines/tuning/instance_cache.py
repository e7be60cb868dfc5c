"""Cached instances of a split, so that thresholds can be swept without the network."""

from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from pipelines.cluster import run_tasks
from pipelines.results.score import LabelledVideos, frames_of, loaded_system
from vis_core.association.associator import Associator
from vis_core.config.association import AssociationConfig
from vis_core.config.segmentors import SelectionConfig
from vis_core.files import whole_file
from vis_core.formats.youtube_vis import VideoRecord, read_youtube_vis
from vis_core.geometry.masks import InputSize, Upsampling
from vis_core.models.segmentors.selection import select_instances
from vis_core.structures import Instances


def cache_instances(model_folder: Path, videos: LabelledVideos, out: Path, floor: float) -> None:
    """Runs the network once over a split and stores the instances that score above ``floor``.

    Existing files are kept. A sweep cannot use score thresholds below ``floor``.
    """
    out.mkdir(parents=True, exist_ok=True)
    arguments = [
        (model_folder, record, videos.frames, out, floor)
        for record in read_youtube_vis(videos.annotations)[0]
        if not cache_file(out, record).is_file()
    ]
    run_tasks(_cache_video, arguments, "cache instances")


def cache_file(folder: Path, record: VideoRecord) -> Path:
    """Returns the file with a video's instances."""
    return folder / f"video_{record.video_id}.safetensors"


@dataclass
class CachedSystem:
    """One video's cached instances, in place of a system in ``annotate_video``.

    Only selection and association are run. Frames must come in order.
    """

    frames: list[Instances]
    geometry: InputSize
    selection: SelectionConfig
    association: AssociationConfig
    _next: int = field(default=0, init=False)

    def segment(self, images: list[np.ndarray]) -> list[Instances]:
        """Selects from the next frames' cached instances; ignores the images."""
        first, self._next = self._next, self._next + len(images)
        chosen = self.frames[first : self._next]
        return [select_instances(instances, self.selection) for instances in chosen]

    def new_associator(self) -> Associator:
        """Returns an associator with an empty memory."""
        return Associator(self.association)

    def input_size(self, height: int, width: int) -> InputSize:  # noqa: ARG002
        """Returns the geometry of the network's input."""
        return self.geometry


def load_cached(path: Path) -> tuple[list[Instances], InputSize]:
    """Reads one video's cached instances of each frame, and the geometry of the network's input."""
    tensors = load_file(path)
    counts = tensors.pop("counts").tolist()
    height, width, padded_height, padded_width, number = tensors.pop("geometry").tolist()
    geometry = InputSize(height, width, padded_height, padded_width, get_args(Upsampling)[number])
    split = {name: tensor.float().split(counts) for name, tensor in tensors.items()}
    frames = [
        Instances(**{name: parts[t] for name, parts in split.items()}) for t in range(len(counts))
    ]
    return frames, geometry


def _cache_video(
    model_folder: Path, record: VideoRecord, frames: Path, out: Path, floor: float
) -> None:
    system = loaded_system(model_folder)
    kept = []
    for frame in frames_of(record, frames):
        (instances,) = system.segment([frame.image])
        kept.append(instances[instances.scores > floor])
    *sides, upsampling = astuple(system.input_size(record.height, record.width))
    tensors = {
        "counts": torch.tensor([len(instances) for instances in kept]),
        "geometry": torch.tensor([*sides, get_args(Upsampling).index(upsampling)]),
    }
    for each in fields(Instances):
        values = [getattr(instances, each.name) for instances in kept]
        if all(value is not None for value in values):
            tensors[each.name] = torch.cat(values)
    # half precision is enough, since the logits are only compared with 0
    tensors["mask_logits"] = tensors["mask_logits"].half()
    with whole_file(cache_file(out, record)) as partial:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)
