"""Trains the tiny presets of systems on the same scenes and lays out what they reach."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.options import CONFIGS, absolute_path, add_data_options, given_data

if TYPE_CHECKING:
    from pipelines.config.run import RunConfig
    from pipelines.experiments.comparison import LearntRow
    from pipelines.run.steps import Run

# The preset of each system, and the steps of its stages: what is learned in at most an hour.
SYSTEMS: dict[str, tuple[str, tuple[int, ...]]] = {
    "ctvis": ("tiny", (1000, 700, 700)),
    "idol": ("idol_tiny", (2200, 2000, 2600)),
    "minvis": ("minvis_tiny", (1000, 1000)),
    "stc": ("stc_tiny", (1500, 1000)),
}
# Learning rates that differ from the preset: the demo's are for its few steps.
_RATES = {"ctvis": (5.0e-4, 5.0e-4, 3.0e-4)}
# The same from random weights: more still images, since masks are learnt slowly from nothing.
FROM_SCRATCH: dict[str, tuple[int, ...]] = {
    "ctvis": (3700, 700, 800),
    "idol": (4000, 1800, 2000),
    "minvis": (4500, 900),
    "stc": (3500, 1000),
}
# Ten times the demo's scenes. With its eight validation videos a sweep gained 0.12 and lost 0.11 on
# its twelve test videos.
_SCENES = (
    "synthetic.images=2400",
    "synthetic.train_videos=160",
    "synthetic.val_videos=40",
    "synthetic.test_videos=60",
)
_SCRATCH_SCENES = "synthetic.images=9600"
_SCORE_EVERY = 500  # steps, for the learning curve


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
    from pipelines.config.run import load_run_config
    from pipelines.data.given_data import check_given
    from pipelines.experiments.comparison import markdown, to_json, write_learning_curves
    from pipelines.run.steps import Run
    from vis_core.errors import ConfigError
    from vis_core.formats.strict_json import write_json

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
    write_learning_curves(args.out / "curves.png", runs)
    table = markdown(rows)
    (args.out / "table.md").write_text(table)
    print(f"\n{table}\n{args.out / 'table.md'}\n{args.out / 'curves.png'}")
    return 0


def learning_changes(name: str) -> list[str]:
    """What differs from the preset of a system: longer, on more scenes, scored on the way."""
    changes = list(_SCENES)
    for number, steps in enumerate(SYSTEMS[name][1]):
        stage = f"stages.{number}"
        changes += [f"{stage}.steps={steps}", f"{stage}.checkpoint_every=100"]
        changes += [f"{stage}.evaluate_every={_SCORE_EVERY}", f"{stage}.keep=last"]
    for number, rate in enumerate(_RATES.get(name, ())):
        changes.append(f"stages.{number}.optimizer.learning_rate={rate:.6f}")
    return changes


def scratch_changes(name: str, backbone: Path) -> list[str]:
    """What differs beside if a system starts from random weights.

    Args:
        name: The system.
        backbone: Folder of a backbone that ``learn`` itself has trained.
    """
    changes = [f"stages.{k}.steps={steps}" for k, steps in enumerate(FROM_SCRATCH[name])]
    changes += [f"start_from={json.dumps(str(backbone))}", "stages.0.evaluate_every=1000"]
    changes.append(_SCRATCH_SCENES)
    if name != "stc":
        changes.append("stages.0.optimizer.backbone_factor=1.0")
    if name in ("ctvis", "minvis"):
        changes.append("stages.0.optimizer.name=muon")
        changes.append("stages.0.optimizer.learning_rate=2.0e-3")
        changes.append("stages.0.optimizer.warmup_steps=300")
        changes.append("system.segmentor.train_batch_norm=true")
        # queries learn classes slowly, and more slowly from parts of scenes
        changes.append("stages.0.loss_weights={class: 4.0}")
        changes.append("augment.crop_probability=0.0")
    return changes


def shared_batches(config: "RunConfig", workers: int) -> list[str]:
    """Gives each of several workers its share of the batches: a step sees as much as before.

    Args:
        config: Of one worker.
        workers: Data-parallel workers.

    Raises:
        ConfigError: A batch cannot be cut into equal shares.
    """
    from vis_core.errors import ConfigError

    changes = [f"ray.num_workers={workers}"]
    for number, stage in enumerate(config.stages):
        if workers < 1 or stage.batch_size % workers:
            raise ConfigError(
                f"--workers: expected what divides the {stage.batch_size} clips of a batch "
                f"of {config.system.name} (stage {stage.name}), found {workers}"
            )
        changes.append(f"stages.{number}.batch_size={stage.batch_size // workers}")
    return changes


def _learn(name: str, run: "Run", address: str | None) -> "LearntRow":
    from pipelines.cluster import ray_session
    from pipelines.experiments.comparison import learnt_row
    from pipelines.registry.start_weights import check_start
    from pipelines.run import steps

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
