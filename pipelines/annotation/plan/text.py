"""A plan's human-readable text, rendered from its document."""

from collections.abc import Callable
from typing import Any

from pipelines.progress import in_words
from vis_core.errors import shown_name

Document = dict[str, Any]


def plan_lines(document: Document) -> list[str]:
    """Returns a plan as readable lines."""
    videos, measured = document["videos"], document["measured"]
    redo = f", --redo {document['redo']}" if document["redo"] else ""
    lines = [
        f"model       {document['model']}",
        f"results     {document['out']}",
        f"videos      {videos['done']:,} done, {videos['failed']:,} failed, "
        f"{videos['to_do']:,} to do ({_bytes(videos['to_do_bytes'])}{redo})",
    ]
    if videos["left_out"]:
        lines.append(f"left out    {videos['left_out']:,} entries, named above")
    if measured is None:
        return [*lines, "nothing to do; nothing was started or written"]
    lines += _sample_lines(videos, measured)
    if document["extrapolated"] is not None:
        lines += _batch_lines(measured) + _totals_lines(document, document["extrapolated"])
    return [*lines, "nothing was started or written"]


def _sample_lines(videos: Document, measured: Document) -> list[str]:
    rows = measured["videos"]
    good = [row for row in rows if not row["problem"]]
    bad = [f"{shown_name(r['video']['key'])}: {r['problem']}" for r in rows if r["problem"]]
    share = sum(row["video"]["size"] for row in rows) / max(1, videos["to_do_bytes"])
    lines = ["", "measured on this machine"]
    lines.append(
        f"  opened    {len(rows):,} of {videos['to_do']:,} videos, {share:.0%} of the bytes; "
        f"{len(bad)} cannot be read"
    )
    lines += [f"            {line}" for line in bad]
    if not good:
        return [*lines, "  no video could be read, so there is no estimate for the others"]
    frames = sum(row["frames_to_annotate"] for row in good)
    per_s = frames / max(sum(row["frame_s"] * row["frames_to_annotate"] for row in good), 1e-9)
    return [
        *lines,
        f"  content   {frames:,} frames to annotate, "
        f"{in_words(sum(row['duration_s'] for row in good))} of video",
        f"  speed     {per_s:.3g} frames/s per worker with decoding, association and writing; "
        f"{sum(row['probed_frames'] for row in good)} frames, {measured['chunk_frames']} at once",
    ]


def _batch_lines(measured: Document) -> list[str]:
    batches, best = measured["batches"], measured["advised_chunk_frames"]
    device = "a GPU" if measured["device"] == "cuda" else "the CPU, one thread"
    advice = "fewer workers: not even one frame at once fits for each"
    if best is not None:
        advice = f"--set inference.chunk_frames={best}"
    lines = [
        f"  network   on {device}; a worker holds {_bytes(batches['held_bytes'])} with the model, "
        f"and may use {_bytes(batches['limit_bytes'])} beside it",
        "            frames at once   frames/s   memory",
    ]
    for run in batches["runs"]:
        need = _bytes(run["peak_bytes"]) + ("" if run["fits"] else "  does not fit")
        need = "out of memory" if run["out_of_memory"] else need
        lines.append(f"            {run['frames']:>14}   {run['frames_per_s']:>8.3g}   {need}")
    return [*lines, f"            stopped there: {batches['stopped']}", f"  advice    {advice}"]


def _totals_lines(document: Document, total: Document) -> list[str]:
    workers, gpus, wall_s = document["workers"], document["gpus_per_worker"], total["wall_s"]
    opened_all = total["frames"]["low"] == total["frames"]["high"]
    basis = "every video was opened" if opened_all else "range: least and most per byte"
    lines = [
        "",
        f"extrapolated to all videos to do ({basis})",
        f"  frames    {_estimate(total['frames'], '{:,.0f}'.format)}",
        f"  video     {_estimate(total['video_s'], in_words)}",
        f"  unread    about {total['unreadable']:.0f} of {document['videos']['to_do']:,} videos",
        f"  time      {_estimate(wall_s, in_words)} with {workers} worker{'s' * (workers > 1)}; "
        f"one alone: {in_words(total['work_s']['value'])}",
        f"  output    {_estimate(total['result_bytes'], _bytes)}",
    ]
    hours, cost, price = document["gpu_hours"], document["cost"], document["gpu_hour_cost"]
    if hours is not None:
        lines.append(f"  GPU       {_estimate(hours, '{:.2f}'.format)} GPU hours, {gpus:g} each")
    if cost is not None:
        lines.append(f"  cost      {_estimate(cost, '{:,.2f}'.format)} at {price:g} a GPU hour")
    elif price is not None:
        why = "the model was measured without a GPU" if gpus else "--gpus-per-worker is 0"
        lines.append(f"  cost      not known: {why}")
    return [
        *lines,
        "  assumed   workers do not slow each other, each video continues as it begins, and Ray "
        "starts at once",
    ]


def _estimate(estimate: Document, words: Callable[[float], str]) -> str:
    """Formats an estimate with its range, if it has one."""
    value, low, high = (words(estimate[name]) for name in ("value", "low", "high"))
    return value if estimate["low"] == estimate["high"] else f"{value} ({low} to {high})"


def _bytes(count: float) -> str:
    """Formats a size, such as 930 B, 1.2 MB or 3.4 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
