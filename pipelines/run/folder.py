"""The run folder: settings, data and the files that identify the run."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.config.loading import digest, parse_run_config, to_yaml
from pipelines.config.run import RunConfig
from pipelines.config.strict_yaml import read_yaml_mapping
from pipelines.data.find_data import find_vis
from pipelines.data.given_data import GivenData, check_given
from pipelines.data.run_classes import ClassTable
from pipelines.registry.start_weights import start_folder
from pipelines.run.lock import LOCK, hold_folder
from vis_core.config.model_files import WEIGHTS_FILE
from vis_core.errors import ConfigError
from vis_core.files import write_json, write_text

_IDENTITY = "run.json"  # the settings and data of a run


@dataclass(frozen=True)
class Run:
    """A run folder with the run's settings and data."""

    folder: Path
    config: RunConfig
    given: GivenData
    max_frames: int | None = None  # to annotate or score per video; None means all

    @property
    def key(self) -> str:
        """The run's key in the tracking store; equal settings and data give equal keys."""
        images = [str(self.given.images)] if self.given.images else []
        return f"run-{digest(self.config, str(self.given), self.max_frames, *images)}"


def open_run(run: Run) -> None:
    """Creates the run folder or checks that it belongs to the same run, and locks it.

    Raises ConfigError if ``check_folder`` does.
    """
    lock = check_folder(run)
    run.folder.mkdir(parents=True, exist_ok=True)
    hold_folder(run.folder)
    path = run.folder / _IDENTITY
    if not path.is_file():
        write_text(run.folder / "config.yaml", to_yaml(run.config))
        write_json(path, lock, indent=2)


def discard_run(run: Run) -> None:
    """Removes the folder of a run that is refused, unless it holds more than unfinished data."""
    if {path.name for path in run.folder.iterdir()} <= {_IDENTITY, "config.yaml", LOCK, "data"}:
        shutil.rmtree(run.folder, ignore_errors=True)


def check_folder(run: Run) -> dict[str, Any]:
    """Checks that a run's folder is new or belongs to the same run; returns what identifies it.

    Raises ConfigError if the folder contains a run with other settings or unrelated files, or is
    used by another process.
    """
    lock = {
        "config": json.loads(run.config.model_dump_json(by_alias=True)),
        "data": {
            name: value and str(value.resolve() if value.is_absolute() else value)
            for name, value in vars(run.given).items()
            if value or name != "images"  # which earlier runs lack
        },
        "max_frames": run.max_frames,
    }
    path = run.folder / _IDENTITY
    if path.is_file():
        before = json.loads(path.read_text())
        before["config"] = _with_defaults(before["config"])
        difference = _first_difference(before, lock, "")
        if difference:
            raise ConfigError(
                f"{run.folder}: contains a run of other settings ({difference}); choose another "
                "--out or remove the folder"
            )
    elif run.folder.exists() and (not run.folder.is_dir() or any(run.folder.iterdir())):
        raise ConfigError(f"{run.folder}: not empty and not a run folder; choose another --out")
    if (run.folder / LOCK).is_file():
        hold_folder(run.folder)
    return lock


def _with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """Adds defaults for settings that did not exist when the folder was written."""
    try:
        known = RunConfig.model_validate_json(json.dumps(config), strict=True)
    except ValidationError:
        return config  # the caller reports the difference
    return dict(json.loads(known.model_dump_json(by_alias=True)))


def read_run(folder: Path) -> Run:
    """Reads a run folder that ``train`` or ``demo`` created; raises ConfigError otherwise."""
    path = folder / _IDENTITY
    if not path.is_file():
        raise ConfigError(f"{folder}: not a run folder (no run.json); longtake train makes one")
    lock = json.loads(path.read_text())
    settings = folder / "config.yaml"
    config = parse_run_config(read_yaml_mapping(settings), str(settings))
    given = GivenData(**{name: value and Path(value) for name, value in lock["data"].items()})
    return Run(folder, config, given, lock["max_frames"])


def read_trained_run(folder: Path) -> tuple[Run, Path]:
    """Reads a run folder, and returns the run with its last stage's model.

    Raises ConfigError if the folder is not a run folder, or its last stage is not trained.
    """
    run = read_run(folder)
    last = run.config.stages[-1].name
    model = folder / "models" / last
    if not (model / WEIGHTS_FILE).is_file():
        raise ConfigError(
            f"{model}: stage {last} is not trained yet; finish it with longtake train"
        )
    return run, model


def check_run(run: Run) -> ClassTable | None:
    """Checks a run's data, start weights and losses before anything is written.

    Returns the classes of the still images, or None if there are none.

    Raises:
        ConfigError: A folder or start weights are missing, or a stage has an unknown loss weight.
        AnnotationError: Annotations are faulty or refer to missing images.
    """
    classes = check_given(run.given)
    check_settings(run, classes)
    return classes


def check_settings(run: Run, classes: ClassTable | None) -> None:
    """Checks a run as ``check_run`` does, with data that is checked already."""
    check_folder(run)
    check_images(run, classes)
    start_folder(run.config)
    if any(stage.loss_weights for stage in run.config.stages):
        from pipelines.training.stages import check_losses  # imports torch

        check_losses(run.config, num_classes=1)
    if run.given.vis and run.config.system.name == "idol" and run.config.system.id_head:
        from pipelines.training.clip_sources import with_id_head  # imports torch

        names = frozenset(classes.source.names) if classes else None
        with_id_head(run.config, find_vis(run.given.vis, names).train)


def check_images(run: Run, classes: ClassTable | None) -> None:
    """Raises a ConfigError if a stage needs images with instances and there are none."""
    if classes is None or run.config.supervision is not None:
        return
    labels = classes.class_map.target_labels(classes.source)
    mapped = sum(n for label, n in classes.counts.items() if labels[label] is not None)
    found = {"images": classes.counts.total(), "videos": mapped}
    for stage in run.config.stages:
        if stage.clips != "videos" and not found[stage.classes]:
            raise ConfigError(
                f"{run.given.coco}: no image with an instance of the {stage.classes}' classes; "
                f"stage {stage.name} needs at least one"
            )


def check_stage(run: Run, only: str) -> None:
    """Raises a ConfigError if a stage does not exist, or an earlier one is not finished."""
    for name in run.config.stages_before(only):
        if not (run.folder / "models" / name / WEIGHTS_FILE).is_file():
            raise ConfigError(
                f"--stage {only}: stage {name} before it is not finished; train it first"
            )


def _first_difference(before: Any, now: Any, path: str) -> str:
    """Returns the first difference of nested values as ``key: old -> new``, or an empty string."""
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        before, now = dict(enumerate(before)), dict(enumerate(now))
    if isinstance(before, dict) and isinstance(now, dict):
        inner = (
            _first_difference(before.get(key), now.get(key), f"{path}.{key}".removeprefix("."))
            for key in before | now
        )
        return next(filter(None, inner), "")
    return "" if before == now else f"{path}: {before!r:.60} -> {now!r:.60}"
