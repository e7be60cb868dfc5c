"""Trains the stages of a run file: data, pseudo-videos, stage after stage, a score after each."""

import argparse
import os
from pathlib import Path

from jobs.options import (
    PRESET,
    absolute_path,
    add_config_options,
    add_data_options,
    given_data,
    read_config,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument(
        "recipe", nargs="?", metavar="RECIPE", help="run file or preset, as --config names it"
    )
    parser.add_argument(
        "--out", type=absolute_path, help="folder of the run; default runs/ and the recipe's name"
    )
    parser.add_argument("--stage", metavar="NAME", help="train this one; those before it are done")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in --out as it was started; no other option is needed",
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, start nothing")
    parser.add_argument("--max-frames", type=int, help="frames of each scored video")
    parser.add_argument("--address", help="of a running Ray cluster; default: this machine")
    add_data_options(parser)
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Trains what is not trained yet; the same command resumes a run that was stopped."""
    from pipelines.data.given_data import check_given
    from pipelines.registry.start_weights import check_start, start_folder

    _place_recipe(args)
    if args.resume:
        from pipelines.run.folder import read_run

        whole = read_run(args.out)
        config, given = whole.config, whole.given
    else:
        config, given = read_config(args), given_data(args)
    check_given(given)
    start_folder(config)
    if any(stage.loss_weights for stage in config.stages):
        from pipelines.training.stages import check_losses

        check_losses(config, num_classes=1)
    if args.dry_run:
        from pipelines.training.dry_run import training_plan

        print("\n".join(training_plan(config, given, args.out)))
        return 0
    from pipelines.cluster import ray_session
    from pipelines.run import steps
    from pipelines.run.folder import Run, open_run

    if not args.resume:
        whole = Run(args.out, config, given, args.max_frames)
    print(f"start: {check_start(config)}")
    open_run(whole)
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    data = steps.prepare(whole)
    for note in data.notes:
        print(f"note: {note}")
    with ray_session(config.ray, args.address):
        pseudo = steps.make_pseudo_videos(whole, data)
        for stage in steps.train(whole, data, pseudo, args.stage):
            print(f"{stage.name:<10} AP {stage.metrics.get('ap', -1):.3f}  {stage.model}")
    print(f"next: longtake tune --run {args.out}")
    return 0


def _place_recipe(args: argparse.Namespace) -> None:
    """Lets a recipe that stands alone be what --config names, and name the folder of the run."""
    from vis_core.errors import ConfigError

    if args.recipe is not None:
        if args.config != PRESET:
            raise ConfigError(f"{args.recipe} and --config {args.config}: give one run file")
        args.config = args.recipe
    if args.out is None:
        if args.recipe is None:
            raise ConfigError("expected a recipe or --out; longtake train --help says more")
        args.out = Path("runs", Path(args.recipe).stem).absolute()
