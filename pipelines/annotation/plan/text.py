"""A plan's human-readable text, rendered from its document."""

from typing import Any

from rich.filesize import decimal

from pipelines.progress import in_words
from vis_core.errors import shown_name

Document = dict[str, Any]


def plan_lines(document: Document) -> list[str]:
    """Returns a plan as readable lines."""
    videos, measured = document["videos"], document["measured"]
    lines = [
        f"model       {document['model']}",
        f"results     {document['out']}",
        f"videos      {videos['done']:,} done, {videos['failed']:,} failed, "
        f"{videos['to_do']:,} to do ({decimal(videos['to_do_bytes'])})",
    ]
    if measured is None:
        return [*lines, "nothing to do; nothing was started or written"]
    lines += ["", "measured on this machine", *_measured_lines(videos, measured)]
    if document["extrapolated"] is None:
        return [*lines, "no video could be read, so there is no estimate for the others"]
    lines += ["", "extrapolated to all videos to do", *_totals_lines(document)]
    return [*lines, "nothing was started or written"]


def _measured_lines(videos: Document, measured: Document) -> list[str]:
    rows, batches = measured["videos"], measured["batches"]
    bad = [f"{shown_name(r['video']['key'])}: {r['problem']}" for r in rows if r["problem"]]
    share = sum(row["video"]["size"] for row in rows) / max(1, videos["to_do_bytes"])
    opened = f"{len(rows):,} of {videos['to_do']:,} videos, {share:.0%} of the bytes"
    lines = [f"  opened    {opened}; {len(bad)} cannot be read"]
    lines += [f"            {line}" for line in bad]
    for run in batches["runs"] if batches else ():
        speed = f"{run['frames_per_s']:.3g} frames/s, {decimal(run['peak_bytes'])}"
        speed = speed if run["fits"] else "does not fit in memory"
        lines.append(f"  network   {run['frames']:>2} at once on the {measured['device']}: {speed}")
    if batches and batches["best"]:
        lines.append(f"  advice    --set inference.chunk_frames={batches['best']}")
    return lines


def _totals_lines(document: Document) -> list[str]:
    total, workers, hours = document["extrapolated"], document["workers"], document["gpu_hours"]
    lines = [
        f"  frames    {total['frames']:,.0f}",
        f"  video     {in_words(total['video_s'])}",
        f"  unread    about {total['unreadable']:.0f} of {document['videos']['to_do']:,} videos",
        f"  time      {in_words(total['wall_s'])} with {workers} worker{'s' * (workers > 1)}; "
        f"one alone: {in_words(total['work_s'])}, {total['frames'] / total['work_s']:.3g} frames/s",
        f"  output    {decimal(round(total['result_bytes']))}",
    ]
    if hours is not None:
        lines.append(f"  GPU       {hours:.2f} GPU hours, {document['gpus_per_worker']:g} each")
    if document["cost"] is not None:
        lines.append(f"  cost      {document['cost']:,.2f}")
    elif document["gpu_hour_cost"] is not None:
        lines.append("  cost      not known without --gpus-per-worker and a GPU on this machine")
    return lines
