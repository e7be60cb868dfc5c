"""Small archives of videos for tests."""

import json

import numpy as np

from pipelines.annotation.job import annotate_archive
from pipelines.annotation.options import AnnotateOptions
from pipelines.annotation.status import STATUS
from pipelines.annotation.work_queue import WorkQueue
from pipelines.registry.mlflow_registry import ModelReference
from tests.helpers.toy_loaders import POISON, load_toy
from tests.helpers.toy_system import square_frames
from tests.helpers.videos import write_video


def write_clip(path, images, rate=10):
    """Encodes images so that the colours that the toy system looks for survive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, images, rate)


def toy_archive(folder, count=3, frames=6):
    """Writes videos of moving squares, of growing length."""
    for number in range(count):
        images = [frame.image for frame in square_frames(frames + number)]
        write_clip(folder / f"clip{number}.mp4", images)
    return folder


def add_poison(folder, name="poison.mp4"):
    """Writes a video that kills the worker of a poisoned system."""
    write_clip(folder / name, [np.full((32, 48, 3), POISON, np.uint8)] * 4)


def toy_model(folder):
    """Writes a model folder with three classes; the toy loaders read nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [{"id": 10 * index, "name": name} for index, name in enumerate("rgb", start=1)]
    (folder / "categories.json").write_text(json.dumps(names))
    return ModelReference(folder, "toy", 3, "d" * 64)


def tree(folder):
    """Reads every file of a folder except the status and partial files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".partial" not in path.parts and path.name != STATUS
    }


def annotate(videos, out, model, load=load_toy, config=None, **options):
    options = AnnotateOptions(**{"workers": 1, **options})
    return annotate_archive(videos, out, model, config, options, load=load)


def outcome(annotator, video, segments, stitched):
    """Does all work of a video, task by task; returns its row."""
    queue = WorkQueue([video], {video.key: segments}, stitched)
    while (work := queue.take()) is not None:
        row = annotator.do(work)
        if row is not None:
            return row
        queue.done(work)
    raise AssertionError(f"{video.key} has no outcome")


def statuses(summary):
    return {row.video: row.status for row in summary.rows}
