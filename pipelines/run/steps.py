"""The steps of a run, from data to report, in one run folder; finished steps are not repeated.

config.yaml   data/   pseudo/   models/<stage>/   losses.jsonl   stages.json   sweep/
models/final/   evaluation.json   mlflow/   annotations/   overlays/   report.html
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

from pipelines.annotation.job import annotate_archive
from pipelines.annotation.ledger import VideoRow
from pipelines.annotation.options import AnnotateOptions
from pipelines.annotation.summary import AnnotateSummary
from pipelines.config.loading import digest, flatten
from pipelines.config.run import RunConfig
from pipelines.data.pseudo_videos import (
    find_pseudo_videos,
    generate_pseudo_videos,
    num_pseudo_clips,
)
from pipelines.data.run_data import RunData, prepare_data
from pipelines.data.synthetic import num_scenes
from pipelines.mlflow_runs.runs import MlflowRun, MlflowStore
from pipelines.progress import Progress
from pipelines.registry.mlflow_registry import register_model, resolve_model
from pipelines.results.overlays import OverlayJob, draw_overlays
from pipelines.results.score import LabelledVideos, score_model
from pipelines.run.facts import run_facts
from pipelines.run.folder import Run, discard_run
from pipelines.run.mlflow_listener import MlflowListener
from pipelines.training.listener import StageResult
from pipelines.training.stages import TrainingPlace, run_stages, with_steps
from pipelines.tuning.instance_cache import cache_instances
from pipelines.tuning.sweep import SweepJob, sweep_thresholds, with_thresholds
from vis_core.config.model_files import CATEGORIES_FILE
from vis_core.config.systems import AnySystemConfig
from vis_core.errors import AnnotationError, ConfigError
from vis_core.files import write_json
from vis_core.models.systems.build import load_system, read_categories, save_system

_log = logging.getLogger(__name__)
_FINAL = "final"


def prepare(run: Run) -> RunData:
    """Finds or creates the run's data."""
    folder = run.folder / "data"
    folder.mkdir(exist_ok=True)
    synthetic = not (run.given.coco or run.given.vis)
    total = num_scenes(run.config.synthetic) if synthetic else None
    if synthetic and (folder / "synthetic").is_dir():
        no_progress = lambda count: None  # noqa: ARG005, E731
        return prepare_data(run.given, run.config, folder, no_progress, run.max_frames)
    try:
        with Progress(total, "scenes" if synthetic else "items", "data") as progress:
            return prepare_data(run.given, run.config, folder, progress.update, run.max_frames)
    except (ConfigError, AnnotationError):
        if not (folder / "data.json").is_file():
            discard_run(run)
        raise


def make_pseudo_videos(run: Run, data: RunData) -> Path:
    """Writes the pseudo-videos unless they are finished or no stage reads them."""
    out = run.folder / "pseudo"
    if not run.config.needs_pseudo_videos:
        streamed = any(stage.clips in ("pseudo", "mixed") for stage in run.config.stages)
        reason = "made during training" if streamed else "not used by any stage"
        _log.info("pseudo-videos are %s; none are written", reason)
        return out
    records = data.still_images("videos", run.config.left_out)
    clips = run.config.clips_per_image
    inputs = (records, data.categories, run.config.pseudo, out, run.config.seed, clips)
    if find_pseudo_videos(*inputs):
        _log.info("pseudo-videos are finished, nothing to do")
        return out
    with Progress(num_pseudo_clips(records, clips), "clips", "pseudo-videos") as progress:
        pseudo_videos = generate_pseudo_videos(*inputs, progress.update)
    for clip_id, reason in pseudo_videos.failed:
        _log.warning("no pseudo-video %s: %s", clip_id, reason)
    return out


def train(run: Run, data: RunData, pseudo: Path, only: str | None = None) -> list[StageResult]:
    """Trains and scores the stages, or ``only`` one of them, and logs to the tracking store."""
    place = TrainingPlace(run.folder, data, pseudo)
    config = with_steps(run.config, place)
    with mlflow_run(run) as record:
        record.log_params(flatten(run.config))
        record.set_tags(run_facts(data))
        return run_stages(config, place, MlflowListener(record, config, place), only)


def sweep(run: Run, data: RunData, trained: Path) -> dict[str, Any]:
    """Sweeps thresholds on the validation videos; writes ``models/final`` with the best ones."""
    final, folder = run.folder / "models" / _FINAL, run.folder / "sweep"
    table = folder / "sweep.json"
    if not (table.is_file() and (final / CATEGORIES_FILE).is_file()):
        classes = read_categories(trained)
        if set(classes.names) != set(data.categories.names):
            raise ConfigError(
                f"{trained}: has the classes of the still images, not those of the videos; "
                "end the run with a stage that has classes: videos"
            )
        videos = LabelledVideos(data.videos.val, data.videos.frames_of(data.videos.val))
        start = run.config.system.selection.score_threshold
        floor = min(run.config.sweep.score_threshold[0], start)
        cache_instances(trained, videos, folder / "instances", floor)
        inputs = run.config.system, classes, run.config.inference
        job = SweepJob(*inputs, videos, folder / "instances")
        best = sweep_thresholds(job, run.config, folder)["best"]
        save_changed(trained, final, with_thresholds(run.config.system, best))
    return dict(json.loads(table.read_text()))


def save_changed(model: Path, out: Path, config: AnySystemConfig) -> None:
    """Writes a model folder with the same weights and other settings."""
    system: Any = load_system(model)
    system.config = config.for_inference()
    save_system(out, system, read_categories(model))


def score(run: Run, data: RunData) -> dict[str, float]:
    """Scores the finished model on the test videos."""
    path = run.folder / "evaluation.json"
    if not path.is_file():
        videos = LabelledVideos(data.videos.test, data.videos.frames_of(data.videos.test))
        model, out = run.folder / "models" / _FINAL, run.folder / "evaluation" / _FINAL
        stats = score_model(model, videos, out, run.config.inference, "score final")
        write_json(path, stats, indent=2)
    return dict(json.loads(path.read_text()))


def register(run: Run, metrics: dict[str, float]) -> str:
    """Registers the finished model as ``champion`` and returns its URI."""
    registered = register_model(
        mlflow_store(run),
        run.folder / "models" / _FINAL,
        run.config.model_name,
        {f"test/{name}": value for name, value in metrics.items()},
    )
    _log.info("%s version %d is champion", registered.name, registered.version)
    return f"models:/{registered.name}@champion"


def annotate(run: Run, data: RunData, model_uri: str) -> AnnotateSummary:
    """Annotates the archive with a registered model and writes a table for the report."""
    model = resolve_model(model_uri, mlflow_store(run).uri, run.folder / "models" / "registry")
    folder = run.folder / "annotations"
    options = AnnotateOptions(max_frames=run.max_frames, workers=os.cpu_count())
    summary = annotate_archive(data.archive, folder, model, run.config.inference, options)
    if summary.interrupted:
        raise KeyboardInterrupt
    rows = sorted((_report_row(folder, row) for row in summary.rows), key=lambda row: row["name"])
    write_json(folder / "summary.json", {"videos": rows}, indent=2)
    return summary


def _report_row(folder: Path, row: VideoRow) -> dict[str, Any]:
    done = row.status == "done"
    document = json.loads((folder / row.result).read_text()) if done else {}
    return {
        "name": row.video,
        "status": row.status,
        "reason": row.reason,
        "frames": document["videos"][0]["length"] if done else 0,
        "tracks": len(document["tracks"]) if done else 0,
        "overlay": f"overlays/{_overlay_name(row.video)}" if done else None,
    }


def draw(run: Run, data: RunData, summary: AnnotateSummary) -> None:
    """Draws an overlay for every annotated video."""
    jobs = [
        OverlayJob(
            run.folder / "annotations" / row.result,
            data.archive / row.video,
            run.folder / "overlays" / _overlay_name(row.video),
        )
        for row in summary.having("done")
    ]
    for problem in draw_overlays(jobs):
        _log.warning("no overlay: %s", problem)


def mlflow_store(run: Run) -> MlflowStore:
    """Opens the run's tracking store."""
    return MlflowStore(os.environ.get("MLFLOW_TRACKING_URI"), "longtake", run.folder)


def mlflow_run(run: Run) -> MlflowRun:
    """Starts or resumes the run in the tracking store."""
    return mlflow_store(run).start_run(run.key, f"{run.config.model_name} {run.folder.name}")


def _overlay_name(video: str) -> str:
    """Returns an overlay's file name, readable and unique to the video."""
    readable = "".join(c if c.isascii() and c.isalnum() else "_" for c in Path(video).stem)[:40]
    return f"{readable}-{digest(video)[:8]}.mp4"


def quick(config: RunConfig) -> RunConfig:
    """Shortens a run so that the first overlays appear within minutes; scores will be low."""
    stages = tuple(
        stage.model_copy(update={"steps": max(10, (stage.steps or 0) // 10), "epochs": None})
        for stage in config.stages
    )
    few = {"images": 48, "train_videos": 6, "val_videos": 3, "test_videos": 3}
    synthetic = config.synthetic.model_copy(update=few)
    trials = config.sweep.model_copy(update={"trials": 3})
    return config.model_copy(update={"stages": stages, "synthetic": synthetic, "sweep": trials})
