"""Sweeps the thresholds of selection and association on cached instances with Ray Tune."""

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.cluster import kept_interrupts
from pipelines.config.run import RunConfig, SweepConfig
from pipelines.results.score import LabelledVideos, blank_frames, evaluate_file
from pipelines.tuning.instance_cache import CachedSystem, cache_file, load_cached
from vis_core.config.association import AssociationConfig
from vis_core.config.inference import InferenceConfig
from vis_core.config.segmentors import SelectionConfig
from vis_core.config.systems import AnySystemConfig
from vis_core.formats.youtube_vis import read_youtube_vis, result_entries, write_results
from vis_core.inference.online import annotate_video

# The knobs of the sweep, spelled as everywhere (law 6).
MATCH = "system.association.match_threshold"
NEW_TRACK = "system.association.new_track_score"
SCORE = "system.selection.score_threshold"
_STATE = "thresholds"


@dataclass(frozen=True)
class SweepJob:
    """Is all that a trial must know.

    Attributes:
        system: The config whose thresholds are varied.
        inference: How videos are walked through.
        videos: The split that is scored.
        cache: Folder of the cached instances.
    """

    system: AnySystemConfig
    inference: InferenceConfig
    videos: LabelledVideos
    cache: Path


def sweep_thresholds(job: SweepJob, config: RunConfig, out: Path) -> dict[str, Any]:
    """Tries settings and says which is best; a sweep that was killed goes on.

    The first trial is the setting as it stands; another is best only if it gains ``min_gain``.

    Args:
        job: What is varied and scored.
        config: Of the run: ranges, number of trials, seed.
        out: Folder of Ray Tune's state; the table goes to ``<out>/sweep.json``.

    Returns:
        ``best`` (dotted keys), ``best_ap``, ``start_ap`` and the ``trials``.
    """
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    logging.getLogger("optuna").setLevel(logging.ERROR)
    sweep = config.sweep
    ranges = {
        MATCH: sweep.match_threshold,
        NEW_TRACK: sweep.new_track_score,
        SCORE: sweep.score_threshold,
    }
    stated = {
        MATCH: job.system.association.match_threshold,
        NEW_TRACK: job.system.association.new_track_score,
        SCORE: job.system.selection.score_threshold,
    }
    # a rule without a floor, MinVIS's, keeps none
    start = {key: value for key, value in stated.items() if value is not None}
    # a range holds the setting as it stands, too
    space = {
        key: tune.uniform(min(ranges[key][0], value), max(ranges[key][1], value))
        for key, value in start.items()
    }
    search = OptunaSearch(metric="ap", mode="max", seed=config.seed, points_to_evaluate=[start])
    trainable = tune.with_resources(tune.with_parameters(_trial, job=job), {"cpu": 1})
    storage = out.absolute()
    state = str(storage / _STATE)
    if tune.Tuner.can_restore(state):
        tuner = tune.Tuner.restore(
            state,
            trainable=trainable,
            resume_unfinished=True,
            resume_errored=True,
        )
    else:
        tuner = tune.Tuner(
            trainable,
            param_space=space,
            tune_config=tune.TuneConfig(
                search_alg=search,
                num_samples=sweep.trials,
                max_concurrent_trials=max(1, os.cpu_count() or 1),
            ),
            run_config=tune.RunConfig(name=_STATE, storage_path=str(storage), verbose=0),
        )
    with kept_interrupts():
        grid = tuner.fit()
    return _summary(grid, start, sweep, out / "sweep.json")


def pick_best_trial(
    highest: dict[str, Any], as_it_stands: dict[str, Any] | None, min_gain: float
) -> dict[str, Any]:
    """Gives the trial with the highest AP, or the setting as it stands if that gains too little."""
    if as_it_stands is None or highest["ap"] - as_it_stands["ap"] >= min_gain:
        return highest
    return as_it_stands


def with_thresholds(system: AnySystemConfig, values: dict[str, float]) -> AnySystemConfig:
    """Puts swept values (dotted keys) into a system's config; others stay."""

    def swept(section: str) -> dict[str, float]:
        prefix = f"system.{section}."
        return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}

    association = AssociationConfig.model_validate(
        system.association.model_dump() | swept("association")
    )
    selection = SelectionConfig.model_validate(system.selection.model_dump() | swept("selection"))
    return system.model_copy(update={"association": association, "selection": selection})


def score_cached(job: SweepJob, system: AnySystemConfig, results: Path) -> float:
    """Associates the cached instances anew and scores them."""
    records, categories = read_youtube_vis(job.videos.annotations)
    entries: list[dict[str, Any]] = []
    for record in records:
        frames, geometry = load_cached(cache_file(job.cache, record))
        cached = CachedSystem(frames, geometry, system.selection, system.association)
        result = annotate_video(
            cached,
            blank_frames(record),
            job.inference.chunk_frames,
            tracks=job.inference.tracks,
        )
        entries += result_entries(result, record.video_id, categories)
    write_results(results, entries)
    return evaluate_file(job.videos.annotations, results)["ap"]


def _trial(values: dict[str, float], job: SweepJob) -> dict[str, float]:
    import tempfile

    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        system = with_thresholds(job.system, values)
        return {"ap": score_cached(job, system, Path(folder) / "results.json")}


def _summary(grid: Any, start: dict[str, float], sweep: SweepConfig, path: Path) -> dict[str, Any]:
    """Writes the table of trials, highest AP first, and which is best.

    Raises:
        KeyboardInterrupt: Ray Tune ended in order before all trials were done, as it does on
            Ctrl-C.
    """
    trials: list[dict[str, Any]] = [
        {"values": dict(result.config), "ap": float(result.metrics["ap"])}
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
    as_it_stands = next((trial for trial in trials if trial["values"] == start), None)
    start_ap = float("nan") if as_it_stands is None else as_it_stands["ap"]
    best = pick_best_trial(trials[0], as_it_stands, sweep.min_gain)
    summary = {
        "best": best["values"],
        "best_ap": best["ap"],
        "start": start,
        "start_ap": start_ap,
        "trials": trials,
        "failed_trials": grid.num_errors,
    }
    path.write_text(json.dumps(summary, indent=2) + "\n")
    return summary
