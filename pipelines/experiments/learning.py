"""Training of several systems' tiny presets on the same data, for comparison."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.cluster import ray_session
from pipelines.config.loading import load_run_config
from pipelines.data.given_data import GivenData
from pipelines.data.run_classes import ClassTable
from pipelines.experiments.backbone_pretraining import write_backbone
from pipelines.experiments.comparison import (
    SYSTEMS,
    LearntRow,
    learning_changes,
    learnt_row,
    markdown,
    scratch_changes,
    shared_batches,
    write_learning_curves,
)
from pipelines.registry.start_weights import check_start
from pipelines.run import steps
from pipelines.run.folder import Run, check_folder, check_images, check_settings, open_run
from vis_core.errors import ConfigError
from vis_core.files import write_json, write_text

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LearningJob:
    """The systems to compare and the settings of their training."""

    systems: Sequence[str]  # names in ``SYSTEMS``; empty means all
    presets: Path  # folder with the run files
    out: Path  # folder for the runs, the table and the curves
    given: GivenData
    seed: int = 0  # for scenes, weights and order
    workers: int = 1  # number of data-parallel workers, which share each batch
    from_scratch: bool = False
    backbone_steps: int = 1500  # of pretraining the backbone, if ``from_scratch``
    max_frames: int | None = None  # of each scored video; None means all
    overrides: Sequence[str] = ()  # changes to all run files

    @property
    def backbone(self) -> Path:
        """The backbone's folder, whose name contains the settings that the backbone depends on."""
        return self.out / f"backbone-{self.backbone_steps}-{self.seed}"

    def runs(self) -> list[tuple[str, Run]]:
        """Returns each system's name and run.

        Raises ConfigError if a system does not exist, or a change does not fit its run file.
        """
        names = tuple(dict.fromkeys(self.systems)) or tuple(SYSTEMS)
        for name in names:
            if name not in SYSTEMS:
                raise ConfigError(f"{name}: no such system; expected one of {', '.join(SYSTEMS)}")
        return [(name, self._run(name)) for name in names]

    def _run(self, name: str) -> Run:
        preset = self.presets / f"{SYSTEMS[name][0]}.yaml"
        changes = learning_changes(name)
        if self.from_scratch:
            changes += scratch_changes(name, self.backbone)
        changes += shared_batches(load_run_config(preset, changes), self.workers)
        config = load_run_config(preset, [*changes, f"seed={self.seed}", *self.overrides])
        if any(stage.epochs is not None for stage in config.stages):
            raise ConfigError(f"{name}: expected stages with steps, found epochs; give their steps")
        return Run(self.out / name, config, self.given, self.max_frames)


def check(job: LearningJob, classes: ClassTable | None) -> None:
    """Checks every run before the first one starts; ``classes`` are from ``check_given``."""
    for _, run in job.runs():
        if job.from_scratch:  # the backbone may not exist yet
            check_folder(run)
            check_images(run, classes)
        else:
            check_settings(run, classes)
            check_start(run.config)


def learn(job: LearningJob, address: str | None = None) -> list[LearntRow]:
    """Trains, tunes and scores unfinished systems; writes the table and curves to ``out``."""
    runs = job.runs()
    if job.from_scratch:
        write_backbone(job.backbone, job.backbone_steps, job.seed)
    rows = [_learn_one(name, run, address) for name, run in runs]
    write_json(job.out / "table.json", [asdict(row) for row in rows])
    write_learning_curves(job.out / "curves.html", runs)
    write_text(job.out / "table.md", markdown(rows))
    return rows


def _learn_one(name: str, run: Run, address: str | None) -> LearntRow:
    _log.info("%s: start %s", name, check_start(run.config))
    open_run(run)
    data = steps.prepare(run)
    with ray_session(run.config.ray, address):
        stages = steps.train(run, data, steps.make_pseudo_videos(run, data))
        steps.sweep(run, data, stages[-1].model)
        metrics = steps.score(run, data)
    row = learnt_row(name, run, data, stages, metrics)
    _log.info("%s: AP %.3f (%.3f before the sweep)", name, row.scores["AP"], row.unswept_ap)
    return row
