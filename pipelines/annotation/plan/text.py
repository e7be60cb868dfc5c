"""Writes the plan of an annotation job for people: what was measured, and what follows from it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.annotation.plan.batch_speed import BatchSpeeds
    from pipelines.annotation.plan.measure import Measured, SampledVideo
    from pipelines.annotation.plan.plan import AnnotatePlan, Totals
    from pipelines.annotation.plan.sampling import Estimate

_SHOWN_PROBLEMS = 8  # the others are in the JSON


def plan_lines(plan: "AnnotatePlan") -> list[str]:
    """Lists a plan for people."""
    size = _bytes(sum(video.size for video in plan.to_do))
    again = f", {plan.request.options.redo} again" if plan.request.options.redo else ""
    lines = [
        f"model       {plan.model}",
        f"results     {plan.out}",
        f"videos      {plan.num_done:,} done, {plan.num_failed:,} failed, "
        f"{len(plan.to_do):,} to do ({size}{again})",
    ]
    if plan.skipped:
        lines.append(f"left out    {len(plan.skipped):,} entries, named above")
    if plan.measured is None:
        return [*lines, "nothing to do; nothing was started or written (--plan)"]
    lines += _sample_lines(plan, plan.measured)
    if plan.measured.batches is not None:
        lines += _batch_lines(plan.measured, plan.measured.batches, plan)
    if plan.totals is not None:
        lines += _totals_lines(plan, plan.measured, plan.totals)
    return [*lines, "nothing was started or written (--plan)"]


def _sample_lines(plan: "AnnotatePlan", measured: "Measured") -> list[str]:
    """Says which videos were opened, and what is in them."""
    from pipelines.progress import in_words

    rows = measured.videos
    good = [row for row in rows if not row.problem]
    bad = [row for row in rows if row.problem]
    opened = sum(row.video.size for row in rows) / max(1, sum(v.size for v in plan.to_do))
    lines = [
        "",
        "measured on this machine",
        f"  opened    {len(rows):,} of {len(plan.to_do):,} videos, {opened:.0%} of the bytes; "
        f"{len(bad)} cannot be read",
    ]
    lines += [f"            {row.video.shown}: {row.problem}" for row in bad[:_SHOWN_PROBLEMS]]
    if len(bad) > _SHOWN_PROBLEMS:
        lines.append(f"            and {len(bad) - _SHOWN_PROBLEMS} more (--json)")
    if not good:
        return [*lines, "  no video could be read, so nothing follows for the others"]
    frames = sum(row.num_frames for row in good)
    wanted = sum(row.frames_to_annotate for row in good)
    seconds = sum(row.duration_s for row in good)  # of what is annotated
    some = "" if wanted == frames else f", {wanted:,} of them to annotate"
    total = sum(row.video.size for row in good)
    lines.append(
        f"  content   {frames:,} frames{some}, {in_words(seconds)} of video, "
        f"{_range(good, 'width')} x {_range(good, 'height')} pixels"
    )
    # a video that is cut by --max-frames plays for less than its bytes are of
    rate = (
        f", {_bytes(total / seconds)} a second"
        if seconds and not plan.request.options.max_frames
        else ""
    )
    return [*lines, f"  data      {_bytes(total / max(1, frames))} a frame{rate}"]


def _batch_lines(measured: "Measured", batches: "BatchSpeeds", plan: "AnnotatePlan") -> list[str]:
    """Lists the numbers of frames at once, and which is advised."""
    height, width = measured.batch_size
    where = "a GPU" if measured.on_gpu else "the CPU, one thread"
    lines = [
        f"  network   on {where}, frames of {width} x {height}",
        f"            a worker holds {_bytes(batches.held_bytes)} with the model, and may need "
        f"{_bytes(batches.limit_bytes)} beside it",
        "            frames at once   frames/s   memory",
    ]
    for run in batches.runs:
        need = "out of memory" if run.out_of_memory else _bytes(run.peak_bytes)
        speed = "-" if run.out_of_memory else f"{run.frames_per_s:.3g}"
        note = "" if run.fits or run.out_of_memory else "  does not fit"
        lines.append(f"            {run.frames:>14}   {speed:>8}   {need}{note}")
    best, now = batches.best(), plan.request.config.chunk_frames
    lines.append(f"            ended there: {batches.stopped}")
    if best is None:
        lines.append("  advice    fewer workers: not even one frame at once fits for each")
    else:
        same = "as it is" if best.frames == now else f"it is {now}"
        lines.append(f"  advice    --set inference.chunk_frames={best.frames} ({same})")
    walked = sum(walk.num_frames for walk in measured.walks)
    lines.append(
        f"  walk      {measured.frames_per_s:.3g} frames/s for each worker: decoding, network, "
        f"association, run lengths"
    )
    lines.append(
        f"            {walked} frames of {len(measured.walks)} videos, {measured.chunk_frames} at "
        f"once, {_bytes(measured.walk_bytes)} of memory"
    )
    return lines


def _totals_lines(plan: "AnnotatePlan", measured: "Measured", totals: "Totals") -> list[str]:
    """Says what follows for all videos."""
    from pipelines.annotation.plan.sampling import LEVEL
    from pipelines.progress import in_words

    assert plan.sample is not None, "measured"
    whole = "every video was opened" if plan.sample.is_whole else f"interval of {LEVEL:.0%}"
    wall_s = totals.wall_s.value
    times = totals.video_s.value / wall_s if wall_s else 0.0
    gpus = f", {plan.request.options.gpus_per_worker:g} GPUs each" if measured.on_gpu else ""
    alone = f"; one worker: {in_words(totals.work_s.value)}"
    cut = f"; it is cut into {totals.longest_cut} segments" if totals.longest_cut > 1 else ""
    each = "worker" if plan.num_workers == 1 else "workers"
    return [
        "",
        f"extrapolated to all that is to do ({whole})",
        f"  frames    {_estimate(totals.frames, lambda n: f'{n:,.0f}')}",
        f"  video     {_estimate(totals.video_s, in_words)}",
        f"  unread    about {totals.unreadable.value:.0f} of {len(plan.to_do):,} videos",
        f"  time      {_estimate(totals.wall_s, in_words)} with {plan.num_workers} {each}{gpus}, "
        f"{times:.2g} x real time{alone if plan.num_workers > 1 else ''}",
        f"            the longest video takes one worker {in_words(totals.longest_s)}{cut}",
        f"  output    {_estimate(totals.result_bytes, _bytes)} (Parquet of the masks)",
        *_cost_lines(plan, measured),
        "  assumed   workers do not slow each other, the rest of a video is like its start;",
        "            not counted: starting Ray, writing results",
    ]


def _cost_lines(plan: "AnnotatePlan", measured: "Measured") -> list[str]:
    hours, cost, price = plan.gpu_hours(), plan.cost(), plan.request.gpu_hour_cost
    lines = []
    if hours is not None:
        lines.append(f"  GPU       {_estimate(hours, lambda n: f'{n:.2f}')} GPU hours")
    if cost is not None:
        lines.append(
            f"  cost      {_estimate(cost, lambda n: f'{n:,.2f}')} at {price:g} a GPU hour"
        )
    elif price is not None:
        why = (
            "--gpus-per-worker is 0, so no GPU would be used"
            if plan.request.options.gpus_per_worker == 0
            else f"this machine has no GPU, the model was measured on its {measured.device.upper()}"
        )
        lines.append(f"  cost      not known: {why}")
    return lines


def _estimate(estimate: "Estimate", words: "Callable[[float], str]") -> str:
    """Writes an estimate with its interval, if it has one."""
    if estimate.high is None:
        return f"{words(estimate.value)} (at least {words(estimate.low)}; too few samples for more)"
    if estimate.low == estimate.high:
        return words(estimate.value)
    return f"{words(estimate.value)} ({words(estimate.low)} to {words(estimate.high)})"


def _range(rows: "list[SampledVideo]", name: str) -> str:
    values = [getattr(row, name) for row in rows]
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}-{high}"


def _bytes(count: float) -> str:
    """Writes a size as 930 B, 1.2 MB or 3.4 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


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
        "gpus_per_worker": plan.request.options.gpus_per_worker,
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
