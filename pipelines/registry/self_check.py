"""A check, run in a fresh process, that a model folder works.

``python -m pipelines.registry.self_check FOLDER`` exits with 0 if the model annotates two random
frames, otherwise with 1 and a one-line reason.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vis_core.errors import CheckpointError, VisError
from vis_core.structures import Frame

_SIZE = (96, 160)  # pixels; the model resizes frames anyway
_FRAMES = 2


def check_model(folder: Path) -> None:
    """Loads a model folder and annotates random frames with it.

    Raises:
        CheckpointError: If the model does not load or its result does not cover the frames.
    """
    from vis_core.inference.online import annotate_video
    from vis_core.models.systems.build import load_system

    result = annotate_video(load_system(folder), _random_frames())
    if result.num_frames != _FRAMES or (result.height, result.width) != _SIZE:
        raise CheckpointError(
            f"{folder}: expected a result of {_FRAMES} frames of {_SIZE[0]} x {_SIZE[1]}, got "
            f"{result.num_frames} of {result.height} x {result.width}"
        )


def _random_frames() -> Iterator[Frame]:
    random = np.random.default_rng(0)
    for index in range(_FRAMES):
        yield Frame(random.integers(0, 256, (*_SIZE, 3), dtype=np.uint8), index, index / 25)


if __name__ == "__main__":
    try:
        check_model(Path(sys.argv[1]))
    except VisError as error:
        raise SystemExit(str(error)) from error
