"""``longtake train``: training and scoring of a run file's stages, in order."""

from pathlib import Path
from typing import Annotated, Any

from jobs import options
from jobs.options import argument, option
from vis_core.errors import ConfigError

DETAILS = (
    "Trains on the data given by --coco and --vis, or on synthetic scenes. --out is the run "
    "folder, by default runs/RECIPE. The same command resumes a stopped run; --resume requires "
    "only --out."
)
EXAMPLES = (
    "longtake train ctvis_r50_ytvis19 --coco COCO --vis YTVIS19 --out runs/ctvis",
    "longtake train ctvis_r50_ytvis19 --set stages.0.steps=100 --dry-run",
    "longtake train stc_r50_ytvis19 --dry-run --terms",
    "longtake train --resume --out runs/ctvis",
)


def run(
    *,
    recipe: Annotated[
        str | None,
        argument("RECIPE", "Run file or preset, as in --config.", autocompletion=options.presets),
    ] = None,
    out: options.Out = None,
    stage: Annotated[
        str | None,
        option("--stage NAME", "Train only this stage; all earlier stages must be finished."),
    ] = None,
    resume: Annotated[
        bool, option("--resume", "Continue the run in --out with its original settings.")
    ] = False,
    dry_run: options.DryRun = False,
    terms: Annotated[
        bool, option("--terms", "With --dry-run: compute and print each loss at step 0.")
    ] = False,
    max_frames: options.MaxFrames = None,
    address: options.Address = None,
    coco: options.Coco = None,
    vis: options.Vis = None,
    images: options.Images = None,
    videos: options.Videos = None,
    class_map: options.ClassMap = None,
    config: options.Config = options.PRESET,
    overrides: options.Set,
    from_scratch: options.FromScratch = False,
    as_json: options.Json = False,
) -> None:
    """Trains the unfinished stages and prints the scores."""
    from pipelines.run.folder import Run, check_run, check_stage, open_run, read_run

    if recipe is not None and config != options.PRESET:
        raise ConfigError(f"{recipe} and --config {config}: give one run file")
    if out is None and recipe is None:
        raise ConfigError("expected a recipe or --out; longtake train --help explains them")
    folder = Path("runs", Path(recipe or "").stem) if out is None else options.local_path(out)
    folder = folder.absolute()
    if resume:
        whole = read_run(folder)
    else:
        resolved = options.read_config(recipe or config, overrides, from_scratch=from_scratch)
        whole = Run(
            folder, resolved, options.given_data(coco, vis, videos, images, class_map), max_frames
        )
    classes = check_run(whole)
    if stage is not None:
        check_stage(whole, stage)
    if terms and not dry_run:
        raise ConfigError("--terms only works with --dry-run")
    from pipelines.registry.start_weights import check_start, refuse_random_start

    if dry_run:
        from pipelines.training.dry_run import training_plan

        plan = training_plan(whole.config, whole.given, folder, classes)
        if terms:
            from pipelines.training.loss_terms import terms_table

            plan[-1:-1] = terms_table(whole.config)
        settings = whole.config.model_dump(mode="json", by_alias=True)
        options.report({"config": settings, "plan": plan}, plan, as_json=as_json)
        refuse_random_start(whole.config)
        return
    from pipelines.cluster import ray_session
    from pipelines.run import steps

    start = check_start(whole.config)
    open_run(whole)
    if not as_json:
        print(f"start: {start}")
    data = steps.prepare(whole)
    for note in [] if as_json else data.notes:
        print(f"note: {note}")
    with ray_session(whole.config.ray, address):
        pseudo = steps.make_pseudo_videos(whole, data)
        stages = steps.train(whole, data, pseudo, stage)
    lines = [f"{s.name:<10} {s.score}  {s.model}" for s in stages]
    document: dict[str, Any] = {
        "run": folder,
        "start": start,
        "notes": data.notes,
        "stages": [{"name": s.name, "model": s.model, "metrics": s.metrics} for s in stages],
    }
    options.report(document, [*lines, f"next: longtake tune --run {folder}"], as_json=as_json)
