"""``longtake annotate --plan``: what a job would take, told before it is started."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from pipelines.annotation.plan.text import plan_lines

if TYPE_CHECKING:
    from pipelines.annotation.archive.listing import Archive
    from pipelines.annotation.plan.measure import Measured, SampledVideo
    from pipelines.annotation.plan.plan import AnnotatePlan, Totals
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
) -> int:
    """Makes a plan and prints it; writes nothing."""
    from pipelines.annotation.plan.plan import PlanRequest, plan_archive

    request = PlanRequest(
        config=config,
        max_frames=args.max_frames,
        num_workers=args.workers,
        gpus_per_worker=args.gpus_per_worker,
        redo=args.redo,
        segments=args.segments,
        join=args.join,
        num_samples=_SAMPLES if args.plan_samples is None else args.plan_samples,
        gpu_hour_cost=args.gpu_hour_cost,
    )
    plan = plan_archive(archive, args.out, model, request)
    print(json.dumps(plan_json(plan), indent=2) if args.json else "\n".join(plan_lines(plan)))
    return 0


def plan_json(plan: "AnnotatePlan") -> dict[str, Any]:
    """Lays a plan out for programs; sizes are bytes, durations seconds."""
    measured, totals, hours, cost = plan.measured, plan.totals, plan.gpu_hours(), plan.cost()
    return {
        "out": plan.out,
        "model": plan.model,
        "videos": {
            "done": plan.num_done,
            "failed": plan.num_failed,
            "to_do": len(plan.to_do),
            "to_do_bytes": sum(video.size for video in plan.to_do),
            "left_out": len(plan.skipped),
        },
        "workers": plan.num_workers,
        "gpus_per_worker": plan.request.gpus_per_worker,
        "measured": None if measured is None else _measured_json(measured),
        "extrapolated": None if totals is None else _totals_json(totals),
        "gpu_hours": None if hours is None else hours.to_json(),
        "cost": None if cost is None else cost.to_json(),
    }


def _measured_json(measured: "Measured") -> dict[str, Any]:
    batches = measured.batches
    best = None if batches is None else batches.best()
    return {
        "device": measured.device,
        "load_s": measured.load_s,
        "sample": [_sampled_json(row) for row in measured.videos],
        "batches": [] if batches is None else [vars(run) for run in batches.runs],
        "batches_stopped": "" if batches is None else batches.stopped,
        "batch_limit_bytes": None if batches is None else batches.limit_bytes,
        "model_bytes": None if batches is None else batches.held_bytes,
        "advised_chunk_frames": None if best is None else best.frames,
        "walk_chunk_frames": measured.chunk_frames,
        "walk_frames_per_s": measured.frames_per_s,
        "walk_bytes": measured.walk_bytes,
        "result_bytes_per_frame": measured.result_bytes_per_frame,
    }


def _sampled_json(row: "SampledVideo") -> dict[str, Any]:
    walk = None if row.walk is None else vars(row.walk)
    facts = {name: value for name, value in vars(row).items() if name not in ("video", "walk")}
    return {"video": row.video.key, "bytes": row.video.size, **facts, "walk": walk}


def _totals_json(totals: "Totals") -> dict[str, Any]:
    from pipelines.annotation.plan.sampling import LEVEL

    return {
        "level": LEVEL,
        "longest_s": totals.longest_s,
        "longest_cut": totals.longest_cut,
        **{
            name: getattr(totals, name).to_json()
            for name in ("frames", "video_s", "unreadable", "work_s", "wall_s", "result_bytes")
        },
    }
