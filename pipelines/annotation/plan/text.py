"""The text and the JSON of a plan."""

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipelines.progress import in_words

if TYPE_CHECKING:
    from pipelines.annotation.plan.batch_speed import BatchSpeeds
    from pipelines.annotation.plan.measure import Measured, SampledVideo
    from pipelines.annotation.plan.plan import AnnotatePlan, Estimate, Totals


def plan_lines(plan: "AnnotatePlan") -> list[str]:
    """Returns the lines of a plan for people."""
    options, size = plan.request.options, _bytes(sum(video.size for video in plan.to_do))
    redo = f", --redo {options.redo}" if options.redo else ""
    lines = [
        f"model       {plan.model}",
        f"results     {plan.out}",
        f"videos      {plan.num_done:,} done, {plan.num_failed:,} failed, "
        f"{len(plan.to_do):,} to do ({size}{redo})",
    ]
    if plan.skipped:
        lines.append(f"left out    {len(plan.skipped):,} entries, named above")
    if plan.measured is None:
        return [*lines, "nothing to do; nothing was started or written"]
    lines += _sample_lines(plan, plan.measured)
    if plan.measured.batches is not None:
        lines += _batch_lines(plan, plan.measured, plan.measured.batches)
    if plan.totals is not None:
        lines += _totals_lines(plan, plan.measured, plan.totals)
    return [*lines, "nothing was started or written"]


def _sample_lines(plan: "AnnotatePlan", measured: "Measured") -> list[str]:
    rows, good = measured.videos, measured.readable
    bad = [row for row in rows if row.problem]
    size, num_to_do = sum(row.video.size for row in rows), len(plan.to_do)
    share = size / max(1, sum(video.size for video in plan.to_do))
    lines = ["", "measured on this machine"]
    lines.append(
        f"  opened    {len(rows):,} of {num_to_do:,} videos, {share:.0%} of the bytes; "
        f"{len(bad)} cannot be read"
    )
    lines += [f"            {row.video.shown}: {row.problem}" for row in bad]
    if not good:
        return [*lines, "  no video could be read, so there is no estimate for the others"]
    frames = sum(row.frames_to_annotate for row in good)
    seconds = sum(row.duration_s for row in good)
    lines.append(
        f"  content   {frames:,} frames to annotate, {in_words(seconds)} of video, "
        f"{_range(good, 'width')} x {_range(good, 'height')} pixels"
    )
    probed = sum(row.probed_frames for row in good)
    per_s = frames / max(sum(row.frame_s * row.frames_to_annotate for row in good), 1e-9)
    lines.append(
        f"  speed     {per_s:.3g} frames/s per worker: decoding, network, association, writing"
    )
    lines.append(
        f"            {probed} frames of {len(good)} videos, {measured.chunk_frames} at once"
    )
    return lines


def _batch_lines(plan: "AnnotatePlan", measured: "Measured", batches: "BatchSpeeds") -> list[str]:
    device = "a GPU" if measured.device == "cuda" else "the CPU, one thread"
    lines = [
        f"  network   on {device}",
        f"            a worker holds {_bytes(batches.held_bytes)} with the model, and may use "
        f"{_bytes(batches.limit_bytes)} beside it",
        "            frames at once   frames/s   memory",
    ]
    for run in batches.runs:
        if run.out_of_memory:
            lines.append(f"            {run.frames:>14}          -   out of memory")
            continue
        note = "" if run.fits else "  does not fit"
        need = _bytes(run.peak_bytes)
        lines.append(f"            {run.frames:>14}   {run.frames_per_s:>8.3g}   {need}{note}")
    lines.append(f"            stopped there: {batches.stopped}")
    best, now = batches.best(), plan.request.config.chunk_frames
    if best is None:
        return [*lines, "  advice    fewer workers: not even one frame at once fits for each"]
    current = "as it is" if best.frames == now else f"it is {now}"
    return [*lines, f"  advice    --set inference.chunk_frames={best.frames} ({current})"]


def _totals_lines(plan: "AnnotatePlan", measured: "Measured", totals: "Totals") -> list[str]:
    options, wall_s = plan.request.options, totals.wall_s.value
    opened_all = totals.frames.low == totals.frames.high
    basis = "every video was opened" if opened_all else "range: least and most per byte"
    times = totals.video_s.value / wall_s if wall_s else 0.0
    gpus = f", {options.gpus_per_worker:g} GPUs each" if measured.device == "cuda" else ""
    cut = f"; it is cut into {totals.longest_cut} segments" if totals.longest_cut > 1 else ""
    return [
        "",
        f"extrapolated to all videos to do ({basis})",
        f"  frames    {_estimate(totals.frames, lambda count: f'{count:,.0f}')}",
        f"  video     {_estimate(totals.video_s, in_words)}",
        f"  unread    about {totals.unreadable:.0f} of {len(plan.to_do):,} videos",
        f"  time      {_estimate(totals.wall_s, in_words)} with {plan.num_workers} "
        f"worker{'s' * (plan.num_workers > 1)}{gpus}, {times:.2g} x real time; one worker alone: "
        f"{in_words(totals.work_s.value)}",
        f"            the longest video takes one worker {in_words(totals.longest_s)}{cut}",
        f"  output    {_estimate(totals.result_bytes, _bytes)}",
        *_cost_lines(plan, measured),
        "  assumed   workers do not slow each other, and a video goes on as it begins;",
        "            not counted: starting Ray",
    ]


def _cost_lines(plan: "AnnotatePlan", measured: "Measured") -> list[str]:
    hours, cost, price = plan.gpu_hours(), plan.cost(), plan.request.gpu_hour_cost
    lines = []
    if hours is not None:
        lines.append(f"  GPU       {_estimate(hours, lambda count: f'{count:.2f}')} GPU hours")
    if cost is not None:
        amount = _estimate(cost, lambda count: f"{count:,.2f}")
        lines.append(f"  cost      {amount} at {price:g} a GPU hour")
    elif price is not None and plan.request.options.gpus_per_worker == 0:
        lines.append("  cost      not known: --gpus-per-worker is 0, so no GPU would be used")
    elif price is not None:
        lines.append(f"  cost      not known: the model was measured on {measured.device}, no GPU")
    return lines


def _estimate(estimate: "Estimate", words: Callable[[float], str]) -> str:
    """Writes an estimate with its range, if it has one."""
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
    """Returns a plan for programs; sizes are bytes, durations seconds."""
    hours, cost = plan.gpu_hours(), plan.cost()
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
        "measured": None if plan.measured is None else _measured_json(plan.measured),
        "extrapolated": None if plan.totals is None else asdict(plan.totals),
        "gpu_hours": None if hours is None else asdict(hours),
        "cost": None if cost is None else asdict(cost),
    }


def _measured_json(measured: "Measured") -> dict[str, Any]:
    best = None if measured.batches is None else measured.batches.best()
    return asdict(measured) | {"advised_chunk_frames": None if best is None else best.frames}
