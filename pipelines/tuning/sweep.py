"""Sweeps of selection and association thresholds on cached instances, with Ray Tune."""

import json
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pipelines.cluster import kept_interrupts
from pipelines.config.run import RunConfig, SweepConfig
from pipelines.results.score import LabelledVideos, blank_frames, evaluate_file
from pipelines.tuning.instance_cache import CachedSystem, cache_file, load_cached
from vis_core.config.association import AssociationConfig
from vis_core.config.inference import InferenceConfig
from vis_core.config.segmentors import SelectionConfig
from vis_core.config.systems import AnySystemConfig
from vis_core.files import write_text
from vis_core.formats.categories import Categories
from vis_core.formats.youtube_vis import read_youtube_vis, result_entries, write_results
from vis_core.inference.online import annotate_video

if TYPE_CHECKING:
    from ray.tune import ResultGrid, Tuner

# The dotted keys of the swept settings.
MATCH = "system.association.match_threshold"
NEW_TRACK = "system.association.new_track_score"
SCORE = "system.selection.score_threshold"
_STATE = "thresholds"


@dataclass(frozen=True)
class SweepJob:
    """The input of every trial: a system to vary, and videos with their cached instances."""

    system: AnySystemConfig
    classes: Categories  # of the system; those of the videos are matched by name
    inference: InferenceConfig
    videos: LabelledVideos
    cache: Path


def sweep_thresholds(job: SweepJob, config: RunConfig, out: Path) -> dict[str, Any]:
    """Tries thresholds and picks the best; resumes a sweep that was killed.

    The first trial uses the current thresholds. The best other trial wins only if it raises AP by
    ``min_gain`` or more. Ray Tune's state and the table of trials (``sweep.json``) are in
    ``out``. Returns the table: ``best`` (dotted keys), ``best_ap``, ``start``, ``start_ap``,
    ``trials``, ``failed_trials``. Raises KeyboardInterrupt if the sweep was interrupted.
    """
    logging.getLogger("optuna").setLevel(logging.ERROR)
    start = present_thresholds(job.system)
    tuner = _restored_or_new_tuner(job, config, start, out.absolute())
    with kept_interrupts():
        grid = tuner.fit()
    summary = summarize_trials(grid, start, config.sweep)
    # start_ap is NaN if the first trial failed, and write_json refuses NaN
    write_text(out / "sweep.json", json.dumps(summary, indent=2) + "\n")
    return summary


def present_thresholds(system: AnySystemConfig) -> dict[str, float]:
    """Returns a system's thresholds by dotted key, except null ones (as in MinVIS)."""
    thresholds = {
        MATCH: system.association.match_threshold,
        NEW_TRACK: system.association.new_track_score,
        SCORE: system.selection.score_threshold,
    }
    return {key: value for key, value in thresholds.items() if value is not None}


def search_ranges(start: dict[str, float], sweep: SweepConfig) -> dict[str, tuple[float, float]]:
    """Returns each threshold's range, widened to include its current value."""
    ranges = {
        MATCH: sweep.match_threshold,
        NEW_TRACK: sweep.new_track_score,
        SCORE: sweep.score_threshold,
    }
    return {
        key: (min(ranges[key][0], value), max(ranges[key][1], value))
        for key, value in start.items()
    }


def pick_best_trial(
    highest: dict[str, Any], present: dict[str, Any] | None, min_gain: float
) -> dict[str, Any]:
    """Returns the trial with the highest AP, or the current thresholds if it gains too little."""
    if present is None or highest["ap"] - present["ap"] >= min_gain:
        return highest
    return present


def with_thresholds(system: AnySystemConfig, values: dict[str, float]) -> AnySystemConfig:
    """Returns a system's config with swept values, given by dotted key."""

    def swept(section: str) -> dict[str, float]:
        prefix = f"system.{section}."
        return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}

    association = AssociationConfig.model_validate(
        system.association.model_dump() | swept("association")
    )
    selection = SelectionConfig.model_validate(system.selection.model_dump() | swept("selection"))
    return system.model_copy(update={"association": association, "selection": selection})


def score_cached(job: SweepJob, system: AnySystemConfig, results: Path) -> float:
    """Associates the cached instances with a system's thresholds and returns the AP."""
    records, categories = read_youtube_vis(job.videos.annotations)
    entries: list[dict[str, Any]] = []
    for record in records:
        frames, geometry = load_cached(cache_file(job.cache, record))
        cached = CachedSystem(frames, geometry, system.selection, system.association)
        result = annotate_video(
            cached, blank_frames(record), job.inference.chunk_frames, tracks=job.inference.tracks
        )
        entries += result_entries(result, record.video_id, categories, job.classes)
    write_results(results, entries)
    return evaluate_file(job.videos.annotations, results)["ap"]


def summarize_trials(
    grid: "ResultGrid", start: dict[str, float], sweep: SweepConfig
) -> dict[str, Any]:
    """Builds the table of trials, highest AP first, and picks the best trial.

    Raises KeyboardInterrupt if trials are missing because Ctrl-C ended Ray Tune without an error.
    """
    trials: list[dict[str, Any]] = [
        {"values": dict(result.config or {}), "ap": float(result.metrics["ap"])}
        for result in grid
        if result.error is None and result.metrics and "ap" in result.metrics
    ]
    if len(trials) + grid.num_errors < sweep.trials:
        raise KeyboardInterrupt
    if not trials:
        raise next(iter(grid.errors))
    trials.sort(
        key=lambda trial: (-trial["ap"], trial["values"] != start, *trial["values"].values())
    )
    present = next((trial for trial in trials if trial["values"] == start), None)
    best = pick_best_trial(trials[0], present, sweep.min_gain)
    return {
        "best": best["values"],
        "best_ap": best["ap"],
        "start": start,
        "start_ap": float("nan") if present is None else present["ap"],
        "trials": trials,
        "failed_trials": grid.num_errors,
    }


def _restored_or_new_tuner(
    job: SweepJob, config: RunConfig, start: dict[str, float], storage: Path
) -> "Tuner":
    from ray import tune

    trainable = tune.with_resources(tune.with_parameters(_trial, job=job), {"cpu": 1})
    state = str(storage / _STATE)
    if tune.Tuner.can_restore(state):
        return tune.Tuner.restore(
            state, trainable=trainable, resume_unfinished=True, resume_errored=True
        )
    from ray.tune.search.optuna import OptunaSearch

    ranges = search_ranges(start, config.sweep)
    return tune.Tuner(
        trainable,
        param_space={key: tune.uniform(*bounds) for key, bounds in ranges.items()},
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(
                metric="ap", mode="max", seed=config.seed, points_to_evaluate=[start]
            ),
            num_samples=config.sweep.trials,
            max_concurrent_trials=max(1, os.cpu_count() or 1),
        ),
        run_config=tune.RunConfig(name=_STATE, storage_path=str(storage), verbose=0),
    )


def _trial(values: dict[str, float], job: SweepJob) -> dict[str, float]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        system = with_thresholds(job.system, values)
        return {"ap": score_cached(job, system, Path(folder) / "results.json")}
