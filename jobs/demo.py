"""``longtake demo``: data, training, sweep, registry, archive, scores and report in one command."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from jobs import options
from jobs.options import option

if TYPE_CHECKING:
    from pipelines.run.folder import Run

DETAILS = (
    "Runs on synthetic scenes, or on the data given by --coco, --vis and --videos. Finished steps "
    "are skipped, so the same command resumes a stopped run."
)
EXAMPLES = (
    "longtake demo --quick --out runs/quick",
    "longtake demo --coco COCO --vis YTVIS19 --videos clips --out runs/mine",
)


def run(
    *,
    out: options.Out = "runs/demo",
    quick: Annotated[bool, option("--quick", "Train for a tenth of the steps.")] = False,
    dry_run: options.DryRun = False,
    max_frames: options.MaxFrames = None,
    address: options.Address = None,
    coco: options.Coco = None,
    vis: options.Vis = None,
    images: options.Images = None,
    videos: options.Videos = None,
    config: options.Config = options.PRESET,
    overrides: options.Set,
    from_scratch: options.FromScratch = False,
) -> None:
    """Runs the unfinished steps."""
    from pipelines.run.folder import Run, check_run, open_run

    resolved = options.read_config(config, overrides, from_scratch=from_scratch)
    folder = options.local_path(out or "").absolute()
    whole = Run(folder, resolved, options.given_data(coco, vis, videos, images), max_frames)
    if quick:
        from dataclasses import replace

        from pipelines.run.steps import quick as shortened

        whole = replace(whole, config=shortened(resolved))
    classes = check_run(whole)
    from pipelines.registry.start_weights import check_start, refuse_random_start

    if dry_run:
        from pipelines.training.dry_run import training_plan

        print("\n".join(training_plan(whole.config, whole.given, folder, classes)))
        refuse_random_start(whole.config)
        return
    print(f"start: {check_start(resolved)}")
    open_run(whole)
    started = time.monotonic()
    page = _all_steps(whole, address)
    print(f"\ndone in {(time.monotonic() - started) / 60:.1f} minutes; the report is {page}")


def _all_steps(run: "Run", address: str | None) -> Path:
    from pipelines.cluster import ray_session
    from pipelines.reports.collect import collect_report
    from pipelines.reports.page import write_report
    from pipelines.run import steps

    print("[1/8] data")
    data = steps.prepare(run)
    for note in data.notes:
        print(f"  note: {note}")
    with ray_session(run.config.ray, address):
        print("[2/8] pseudo-videos")
        pseudo = steps.make_pseudo_videos(run, data)
        print("[3/8] staged training")
        stages = steps.train(run, data, pseudo)
        for stage in stages:
            scores = _scores(stage.metrics) if stage.metrics else stage.score
            print(f"  {stage.name:<10} {scores}")
        print("[4/8] sweep of thresholds")
        summary = steps.sweep(run, data, stages[-1].model)
        print(f"  AP on validation {summary['start_ap']:.3f} -> {summary['best_ap']:.3f}")
        print("[5/8] scores on held-out videos")
        metrics = steps.score(run, data)
        print(f"  {'final':<10} {_scores(metrics)}")
        print("[6/8] registry")
        model_uri = steps.register(run, metrics)
        print("[7/8] archive")
        archive = steps.annotate(run, data, model_uri)
        print("\n".join(f"  {line}" for line in archive.describe()))
        steps.draw(run, data, archive)
    print("[8/8] report")
    page = run.folder / "report.html"
    write_report(page, collect_report(run.folder))
    return page


def _scores(metrics: dict[str, float]) -> str:
    names = ("ap", "ap50", "ap75", "ar1", "ar10")
    return "  ".join(f"{name.upper()} {metrics.get(name, -1):.3f}" for name in names)
