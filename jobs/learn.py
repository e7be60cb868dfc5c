"""Trains the tiny presets of systems on the same scenes and lays out what they reach."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.run_options import CONFIGS, absolute_path, add_data_options, given_data

if TYPE_CHECKING:
    from pipelines.learning import LearntRow
    from pipelines.whole_run import Run

SYSTEMS = ("ctvis", "idol", "minvis", "stc")


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
    parser.add_argument("--from-scratch", action="store_true", help="random weights at the start")
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
    from pipelines.config import load_run_config
    from pipelines.given_data import check_given
    from pipelines.learning import markdown, to_json, write_learning_curves
    from pipelines.whole_run import Run
    from vis_core.errors import ConfigError
    from vis_core.formats.strict_json import write_json

    names = tuple(dict.fromkeys(args.systems)) or SYSTEMS
    for name in names:
        if name not in SYSTEMS:
            raise ConfigError(f"{name}: no such system; expected one of {', '.join(SYSTEMS)}")
    given = given_data(args)
    check_given(given)
    changes = [*args.set, f"seed={args.seed}", *(["start_from=null"] if args.from_scratch else [])]
    runs = []
    for name in names:
        config = load_run_config(CONFIGS / f"{name}_tiny.yaml", changes)
        runs.append((name, Run(args.out / name, config, given, args.max_frames)))
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    rows = [_learn(name, whole, args.address) for name, whole in runs]
    write_json(args.out / "table.json", [to_json(row) for row in rows])
    write_learning_curves(args.out / "curves.png", runs)
    table = markdown(rows)
    (args.out / "table.md").write_text(table)
    print(f"\n{table}\n{args.out / 'table.md'}\n{args.out / 'curves.png'}")
    return 0


def _learn(name: str, run: "Run", address: str | None) -> "LearntRow":
    from pipelines import whole_run as steps
    from pipelines.learning import learnt_row
    from pipelines.runtime import ray_session
    from pipelines.start_weights import check_start

    print(f"\n{name}: start {check_start(run.config)}")
    steps.open_run(run)
    data = steps.prepare(run)
    with ray_session(run.config.ray, address):
        stages = steps.train(run, data, steps.make_pseudo_videos(run, data))
        steps.sweep(run, data, stages[-1].model)
        metrics = steps.score(run, data)
    row = learnt_row(name, run, data, stages, metrics)
    print(f"{name}: AP {row.scores['AP']:.3f} ({row.unswept_ap:.3f} before the sweep)")
    return row
