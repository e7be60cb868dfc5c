"""Plans an annotation job: measures a few videos and extrapolates to all by file size and count.

It writes nothing to the results and does not start Ray.
"""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from pipelines.annotation.archive.listing import Archive, ArchivedVideo
from pipelines.annotation.archive.passed_over import describe_other_files, describe_skipped
from pipelines.annotation.ledger import Ledger, json_digest
from pipelines.annotation.options import PlanRequest
from pipelines.annotation.plan.measure import Bench, Measured, choose_sample
from pipelines.annotation.work_queue import num_segments
from pipelines.progress import in_words
from pipelines.registry.mlflow_registry import ModelReference
from pipelines.storage.open import open_storage
from vis_core.errors import shown_name


@dataclass(frozen=True)
class Totals:
    """The estimated content and cost of all videos to annotate."""

    frames: float
    video_s: float  # playing time
    result_bytes: float
    work_s: float  # for a single worker
    wall_s: float  # until the last worker ends, including model loading
    unreadable: float  # number of videos


@dataclass(frozen=True)
class AnnotatePlan:
    """An annotation job's plan; ``asdict`` turns it into the document that ``--json`` prints."""

    out: str
    model: str
    videos: dict[str, int]  # counts by outcome
    gpus_per_worker: float
    gpu_hour_cost: float | None
    workers: int = 0
    measured: Measured | None = None  # None if there is nothing to do
    extrapolated: Totals | None = None  # None if no sampled video could be read
    gpu_hours: float | None = None  # reserved hours; None without a GPU
    cost: float | None = None  # cost of these hours; None without a price
    # entries of the archive that are not videos: the reasons by name, and counts by suffix
    skipped_entries: list[tuple[str, str]] = field(default_factory=list)
    other_files: dict[str, int] = field(default_factory=dict)


def plan_archive(
    archive: Archive, out: Path | str, model: ModelReference, request: PlanRequest
) -> AnnotatePlan:
    """Estimates what ``annotate_archive`` would do; existing results are only listed.

    Raises the errors of ``annotate_archive``, and a ConfigError if a batch does not fit in memory.
    """
    request.validate()
    options = request.options
    settings = options.settings_document(request.config)
    ledger = Ledger(open_storage(out), json_digest([model.digest, settings]))
    survey = ledger.survey(archive.videos)
    to_do = survey.pending + ledger.to_redo(survey, options.redo)
    counts = {
        "done": len(survey.done),
        "failed": len(survey.failed),
        "to_do": len(to_do),
        "to_do_bytes": sum(video.size for video in to_do),
    }
    share, price = options.gpus_per_worker, request.gpu_hour_cost
    plan = AnnotatePlan(
        *(ledger.storage.uri, str(model), counts, share, price),
        skipped_entries=archive.skipped,
        other_files=archive.others,
    )
    if not to_do:
        return plan
    workers = options.workers or os.cpu_count() or 1
    cuts = num_segments(to_do, options.segments_with(request.config), workers)
    workers = min(workers, sum(cuts.values()))
    sample = choose_sample(to_do, request.num_samples)
    measured = Bench(model, request, workers).measure(sample, archive.storage)
    plan = replace(plan, workers=workers, measured=measured)
    if all(row.problem for row in measured.videos):
        return plan
    totals = _totals(plan, measured, to_do, cuts)
    hours = totals.wall_s * workers * share / 3600 if measured.device == "cuda" else None
    cost = None if hours is None or price is None else hours * price
    return replace(plan, extrapolated=totals, gpu_hours=hours, cost=cost)


def _totals(
    plan: AnnotatePlan, measured: Measured, to_do: list[ArchivedVideo], cuts: dict[str, int]
) -> Totals:
    """Extrapolates the measurements to all videos that are to be annotated."""
    rows = [row for row in measured.videos if not row.problem]
    opened = {row.video.key for row in measured.videos}
    others = [video for video in to_do if video.size and video.key not in opened]
    good_bytes = sum(row.video.size for row in rows)
    readable = good_bytes / sum(row.video.size for row in measured.videos)
    factor = 1 + readable * sum(video.size for video in others) / good_bytes
    starts_s = sum(row.start_s for row in rows) * (1 + readable * len(others) / len(rows))
    work_s = starts_s + factor * sum(row.rest_s for row in rows)
    # the largest videos are among the opened ones
    longest_s = max((row.start_s + row.rest_s) / cuts[row.video.key] for row in rows)
    # workers that share a GPU take turns
    slower = 1 / min(1.0, plan.gpus_per_worker) if measured.device == "cuda" else 1.0
    num_empty = len(to_do) - len(opened) - len(others)
    return Totals(
        frames=factor * sum(row.frames_to_annotate for row in rows),
        video_s=factor * sum(row.duration_s for row in rows),
        result_bytes=factor * sum(row.result_bytes for row in rows),
        work_s=work_s,
        wall_s=measured.load_s + slower * max(work_s / plan.workers, longest_s),
        unreadable=num_empty + (len(opened) - len(rows)) * (1 + len(others) / len(opened)),
    )


def plan_lines(document: dict[str, Any]) -> list[str]:
    """Returns a plan's document as readable lines."""
    videos, measured = document["videos"], document["measured"]
    lines = [
        f"model       {document['model']}",
        f"results     {document['out']}",
        f"videos      {videos['done']:,} done, {videos['failed']:,} failed, "
        f"{videos['to_do']:,} to do ({decimal(videos['to_do_bytes'])})",
    ]
    skipped, others = document["skipped_entries"], document["other_files"]
    lines += [f"not taken   {line}" for line in describe_skipped(skipped)]
    lines += [f"not taken   {describe_other_files(others)}"] if others else []
    if measured is None:
        return [*lines, "nothing to do; nothing was started or written"]
    lines += ["", "measured on this machine", *_measured_lines(videos, measured)]
    if document["extrapolated"] is None:
        return [*lines, "no video could be read, so there is no estimate for the others"]
    lines += ["", "extrapolated to all videos to do", *_totals_lines(document)]
    return [*lines, "nothing was started or written"]


def _measured_lines(videos: dict[str, Any], measured: dict[str, Any]) -> list[str]:
    rows, batches = measured["videos"], measured["batches"]
    bad = [f"{shown_name(r['video']['key'])}: {r['problem']}" for r in rows if r["problem"]]
    share = sum(row["video"]["size"] for row in rows) / max(1, videos["to_do_bytes"])
    opened = f"{len(rows):,} of {videos['to_do']:,} videos, {share:.0%} of the bytes"
    lines = [f"  opened    {opened}; {len(bad)} cannot be read", *(f"    {line}" for line in bad)]
    for run in batches["runs"] if batches else ():
        speed = f"{run['frames_per_s']:.3g} frames/s, {decimal(run['peak_bytes'])}"
        speed = speed if run["fits"] else "does not fit in memory"
        lines.append(f"  network   {run['frames']:>2} at once on the {measured['device']}: {speed}")
    if batches and batches["best"]:
        lines.append(f"  advice    --set inference.chunk_frames={batches['best']}")
    return lines


def _totals_lines(document: dict[str, Any]) -> list[str]:
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
