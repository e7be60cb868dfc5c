"""Runs the whole road: data, pseudo-videos, training, sweep, registry, archive, scores, report."""

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.options import (
    absolute_path,
    add_config_options,
    add_data_options,
    given_data,
    read_config,
)

if TYPE_CHECKING:
    from pipelines.run.folder import Run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument(
        "--out", type=absolute_path, default=Path("runs/demo").absolute(), help="folder of the run"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the training")
    parser.add_argument("--max-frames", type=int, help="frames of each annotated video")
    parser.add_argument("--address", help="of a running Ray cluster; default: this machine")
    add_data_options(parser)
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Chains the steps; what is finished is left alone, so the same command resumes."""
    from pipelines.data.given_data import check_given
    from pipelines.registry.start_weights import check_start, start_folder

    config = read_config(args)
    given = given_data(args)
    check_given(given)
    start_folder(config)
    from pipelines.run.folder import Run, open_run
    from pipelines.run.steps import quick

    whole = Run(args.out, quick(config) if args.quick else config, given, args.max_frames)
    print(f"start: {check_start(config)}")
    open_run(whole)
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    started = time.monotonic()
    page = _all_steps(whole, args.address)
    print(f"\ndone in {(time.monotonic() - started) / 60:.1f} minutes; the report is {page}")
    return 0


def _all_steps(run: "Run", address: str | None) -> Path:
    from pipelines.cluster import ray_session
    from pipelines.reports.collect import collect_report
    from pipelines.reports.page import write_report
    from pipelines.run import steps

    print(_heading(1, "data"))
    data = steps.prepare(run)
    for note in data.notes:
        print(f"  note: {note}")
    with ray_session(run.config.ray, address):
        print(_heading(2, "pseudo-videos"))
        pseudo = steps.make_pseudo_videos(run, data)
        print(_heading(3, "staged training"))
        stages = steps.train(run, data, pseudo)
        for stage in stages:
            print(f"  {stage.name:<10} {_scores(stage.metrics)}")
        print(_heading(4, "sweep of thresholds"))
        summary = steps.sweep(run, data, stages[-1].model)
        print(f"  AP on validation {summary['start_ap']:.3f} -> {summary['best_ap']:.3f}")
        print(_heading(5, "scores on held-out videos"))
        metrics = steps.score(run, data)
        print(f"  {'final':<10} {_scores(metrics)}")
        print(_heading(6, "registry"))
        model_uri = steps.register(run, metrics)
        print(_heading(7, "archive"))
        archive = steps.annotate(run, data, model_uri)
        print("\n".join(f"  {line}" for line in archive.describe()))
        steps.draw(run, data, archive)
    print(_heading(8, "report"))
    page = run.folder / "report.html"
    write_report(page, collect_report(run.folder))
    return page


def _heading(number: int, title: str) -> str:
    return f"[{number}/8] {title}"


def _scores(metrics: dict[str, float]) -> str:
    names = ("ap", "ap50", "ap75", "ar1", "ar10")
    return "  ".join(f"{name.upper()} {metrics.get(name, -1):.3f}" for name in names)
