"""``longtake annotate --plan``: what a job would take, told before it is started."""

import argparse
import json
from typing import TYPE_CHECKING

from pipelines.annotation.plan.text import plan_json, plan_lines

if TYPE_CHECKING:
    from pipelines.annotation.archive.listing import Archive
    from pipelines.annotation.options import AnnotateOptions
    from pipelines.registry.mlflow_registry import ModelReference
    from vis_core.config.inference import InferenceConfig

_SAMPLES = 16


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options of a plan."""
    parser.add_argument(
        "--plan",
        action="store_true",
        help="open a few videos, measure the model on them, say what the job would take, and stop",
    )
    parser.add_argument(
        "--plan-samples",
        type=int,
        metavar="N",
        help=f"videos that a plan opens (default {_SAMPLES})",
    )
    parser.add_argument(
        "--gpu-hour-cost", type=float, metavar="X", help="price of an hour of one GPU, for a plan"
    )
    parser.add_argument("--json", action="store_true", help="print the plan for programs")


def refuse_without_plan(args: argparse.Namespace) -> None:
    """Refuses options that only a plan has.

    Raises:
        ConfigError: There is one, and no --plan.
    """
    from vis_core.errors import ConfigError

    given = {
        "--plan-samples": args.plan_samples is not None,
        "--gpu-hour-cost": args.gpu_hour_cost is not None,
        "--json": args.json,
    }
    for option in [] if args.plan else [name for name, is_given in given.items() if is_given]:
        raise ConfigError(f"{option}: is of a plan; add --plan, or leave it out")


def print_plan(
    args: argparse.Namespace,
    archive: "Archive",
    model: "ModelReference",
    config: "InferenceConfig",
    options: "AnnotateOptions",
) -> int:
    """Makes a plan and prints it; writes nothing."""
    from pipelines.annotation.plan.plan import plan_archive
    from pipelines.annotation.plan.request import PlanRequest

    request = PlanRequest(
        config,
        options,
        num_samples=_SAMPLES if args.plan_samples is None else args.plan_samples,
        gpu_hour_cost=args.gpu_hour_cost,
    )
    plan = plan_archive(archive, args.out, model, request)
    print(json.dumps(plan_json(plan), indent=2) if args.json else "\n".join(plan_lines(plan)))
    return 0
