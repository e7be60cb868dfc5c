"""Trains the tiny presets of systems on the same scenes and lays out what they reach."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.options import CONFIGS, absolute_path, add_data_options, given_data
from pipelines.experiments.comparison import (
    SYSTEMS,
    learning_changes,
    scratch_changes,
    shared_batches,
)

if TYPE_CHECKING:
    from pipelines.experiments.comparison import LearntRow
    from pipelines.run.folder import Run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument(
        "systems", nargs="*", metavar="SYSTEM", help=f"of {', '.join(SYSTEMS)}; default all"
    )
    parser.add_argument(
        "--out",
        type=absolute_path,
        default=Path("runs/learn").absolute(),
        help="folder of the runs",
    )
    parser.add_argument("--seed", type=int, default=0, help="of scenes, weights and order")
    parser.add_argument(
        "--from-scratch",
        action="store_true",
        help="random weights at the start, and the steps that they need",
    )
    parser.add_argument(
        "--backbone-steps",
        type=int,
        default=1500,
        help="from scratch: steps in which a backbone for all systems learns classes; 0: none",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        help="share each batch between as many workers; on a CPU two of one thread may be faster "
        "than one of two",
    )
    parser.add_argument("--max-frames", type=int, help="frames of each scored video")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of all systems by its dotted key; may be repeated",
    )
    parser.add_argument("--address", help="of a running Ray cluster; default: this machine")
    add_data_options(parser)


def run(args: argparse.Namespace) -> int:
    """Trains, sweeps and scores what is not finished; the same command goes on."""
    from pipelines.config.loading import load_run_config
    from pipelines.data.given_data import check_given
    from pipelines.experiments.comparison import markdown, to_json, write_learning_curves
    from pipelines.run.folder import Run
    from vis_core.errors import ConfigError
    from vis_core.files import write_json

    names = tuple(dict.fromkeys(args.systems)) or tuple(SYSTEMS)
    for name in names:
        if name not in SYSTEMS:
            raise ConfigError(f"{name}: no such system; expected one of {', '.join(SYSTEMS)}")
    given = given_data(args)
    check_given(given)
    if args.backbone_steps < 0:
        raise ConfigError(f"--backbone-steps: expected 0 or more, found {args.backbone_steps}")
    # the name says what it is a function of, so that no run starts from one of other settings
    backbone = args.out / f"backbone-{args.backbone_steps}-{args.seed}"
    runs = []
    for name in names:
        preset = CONFIGS / f"{SYSTEMS[name][0]}.yaml"
        changes = learning_changes(name)
        if args.from_scratch:
            changes += scratch_changes(name, backbone)
        changes += shared_batches(load_run_config(preset, changes), args.workers)
        config = load_run_config(preset, [*changes, f"seed={args.seed}", *args.set])
        runs.append((name, Run(args.out / name, config, given, args.max_frames)))
    if args.from_scratch:
        from pipelines.experiments.backbone_pretraining import write_backbone

        write_backbone(backbone, args.backbone_steps, args.seed)
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    rows = [_learn(name, whole, args.address) for name, whole in runs]
    write_json(args.out / "table.json", [to_json(row) for row in rows])
    write_learning_curves(args.out / "curves.html", runs)
    table = markdown(rows)
    (args.out / "table.md").write_text(table)
    print(f"\n{table}\n{args.out / 'table.md'}\n{args.out / 'curves.html'}")
    return 0


def _learn(name: str, run: "Run", address: str | None) -> "LearntRow":
    from pipelines.cluster import ray_session
    from pipelines.experiments.comparison import learnt_row
    from pipelines.registry.start_weights import check_start
    from pipelines.run import steps
    from pipelines.run.folder import open_run

    print(f"\n{name}: start {check_start(run.config)}")
    open_run(run)
    data = steps.prepare(run)
    with ray_session(run.config.ray, address):
        stages = steps.train(run, data, steps.make_pseudo_videos(run, data))
        steps.sweep(run, data, stages[-1].model)
        metrics = steps.score(run, data)
    row = learnt_row(name, run, data, stages, metrics)
    print(f"{name}: AP {row.scores['AP']:.3f} ({row.unswept_ap:.3f} before the sweep)")
    return row
