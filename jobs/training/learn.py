"""``longtake learn``: the tiny presets of several systems, trained on the same data."""

from dataclasses import asdict
from typing import Annotated

from jobs import options
from jobs.options import argument

DETAILS = (
    "Several workers share each batch; on a CPU, two workers with one thread each may be faster "
    "than one worker with two threads. --backbone-steps applies only to "
    "--from-scratch, where all systems start from the same backbone."
)
EXAMPLES = (
    "longtake learn idol --out runs/learn",
    "longtake learn ctvis stc --from-scratch --out runs/scratch --seed 1",
)


def run(
    *,
    systems: Annotated[
        list[str],
        argument("SYSTEM", "ctvis, idol, minvis or stc.", default_factory=list, show_default="all"),
    ],
    out: options.Out = "runs/learn",
    seed: options.Seed = 0,
    from_scratch: options.FromScratch = False,
    backbone_steps: options.BackboneSteps = 1500,
    workers: options.RequiredWorkers = 1,
    dry_run: options.DryRun = False,
    max_frames: options.MaxFrames = None,
    overrides: options.Set,
    address: options.Address = None,
    coco: options.Coco = None,
    vis: options.Vis = None,
    images: options.Images = None,
    videos: options.Videos = None,
    as_json: options.Json = False,
) -> None:
    """Trains, tunes and scores the unfinished systems, and prints the table."""
    from pipelines.data.given_data import check_given
    from pipelines.experiments.comparison import markdown
    from pipelines.experiments.learning import LearningJob, check, learn

    given = options.given_data(coco, vis, videos, images)
    classes = check_given(given)
    job = LearningJob(
        systems=systems,
        presets=options.CONFIGS,
        out=options.local_path(out or "").absolute(),
        given=given,
        seed=seed,
        workers=workers,
        from_scratch=from_scratch,
        backbone_steps=backbone_steps,
        max_frames=max_frames,
        overrides=overrides,
    )
    check(job, classes)
    if dry_run:
        steps = {n: sum(stage.num_steps for stage in run.config.stages) for n, run in job.runs()}
        lines = [f"{name}: {count} steps" for name, count in steps.items()]
        options.report({"out": job.out, "steps": steps}, lines, as_json=as_json)
        return
    rows = learn(job, address)
    lines = ["", markdown(rows), str(job.out / "table.md"), str(job.out / "curves.html")]
    document = {"out": job.out, "rows": [asdict(row) for row in rows]}
    options.report(document, lines, as_json=as_json)
