"""Plans an annotation job: measures a few videos and extrapolates to all, linearly in bytes.

It writes nothing to the results and does not start Ray. Ranges come from the sampled videos with
the lowest and highest values per byte; they are not confidence intervals.
"""

import heapq
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.annotation.archive.listing import Archive, ArchivedVideo
from pipelines.annotation.ledger import Ledger, json_digest
from pipelines.annotation.options import PlanRequest, Redo
from pipelines.annotation.work_queue import num_segments
from pipelines.registry.mlflow_registry import ModelReference
from pipelines.storage.open import open_storage

if TYPE_CHECKING:  # these modules import torch
    from pipelines.annotation.plan.measure import Measured, SampledVideo
    from pipelines.annotation.worker import LoadSystem


@dataclass(frozen=True)
class Estimate:
    """A number with its range."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> "Estimate":
        """Returns the number and its range multiplied by a factor."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Totals:
    """Content and cost of all videos to annotate."""

    frames: Estimate
    video_s: Estimate
    result_bytes: Estimate
    work_s: Estimate  # for a single worker
    wall_s: Estimate  # until the last worker ends, including model loading
    unreadable: float  # number of videos


@dataclass(frozen=True)
class AnnotatePlan:
    """An annotation job's plan; ``asdict`` turns it into the document for programs."""

    out: str
    model: str
    videos: dict[str, int]  # counts by outcome
    redo: Redo | None
    gpus_per_worker: float
    gpu_hour_cost: float | None
    workers: int = 0
    measured: "Measured | None" = None  # None if there is nothing to do
    extrapolated: Totals | None = None  # None if no sampled video could be read
    gpu_hours: Estimate | None = None  # reserved hours; None without a GPU
    cost: Estimate | None = None  # cost of these hours; None without a price

    def with_totals(self, totals: Totals) -> "AnnotatePlan":
        """Returns a copy with the totals and, if a GPU is used, its hours and their cost."""
        if self.measured is None or self.measured.device != "cuda":
            return replace(self, extrapolated=totals)
        hours = totals.wall_s.scaled(self.workers * self.gpus_per_worker / 3600)
        cost = None if self.gpu_hour_cost is None else hours.scaled(self.gpu_hour_cost)
        return replace(self, extrapolated=totals, gpu_hours=hours, cost=cost)


def plan_archive(
    archive: Archive,
    out: Path | str,
    model: ModelReference,
    request: PlanRequest,
    load: "LoadSystem | None" = None,
) -> AnnotatePlan:
    """Estimates what ``annotate_archive`` would do; existing results are only listed.

    Raises:
        ConfigError: A number is out of range, or one frame does not fit in memory.
        CheckpointError: The model cannot be loaded.
        StorageError: The archive or the results cannot be reached.
    """
    request.validate()
    options = request.options
    settings = options.settings_document(request.config)
    ledger = Ledger(open_storage(out), json_digest([model.digest, settings]))
    survey = ledger.survey(archive.videos)
    to_do = survey.pending + survey.to_redo(options.redo)
    counts = {
        "done": len(survey.done),
        "failed": len(survey.failed),
        "to_do": len(to_do),
        "to_do_bytes": sum(video.size for video in to_do),
        "left_out": len(archive.skipped),
    }
    share, price = options.gpus_per_worker, request.gpu_hour_cost
    plan = AnnotatePlan(ledger.storage.uri, str(model), counts, options.redo, share, price)
    if not to_do:
        return plan
    from pipelines.annotation.plan.measure import Bench, choose_sample

    workers = options.workers or os.cpu_count() or 1
    cuts = num_segments(to_do, options.segments_with(request.config), workers)
    workers = min(workers, sum(cuts.values()))
    sample = choose_sample(to_do, request.num_samples)
    measured = Bench(model, request, workers, load).measure(sample, archive.storage)
    plan = replace(plan, workers=workers, measured=measured)
    if all(row.problem for row in measured.videos):
        return plan
    return plan.with_totals(_totals(plan, measured, to_do, cuts))


def _totals(
    plan: AnnotatePlan, measured: "Measured", to_do: list[ArchivedVideo], cuts: dict[str, int]
) -> Totals:
    """Extrapolates the measurements to all videos that are to be annotated."""
    rows = [row for row in measured.videos if not row.problem]
    opened = {row.video.key for row in measured.videos}
    others = [video for video in to_do if video.size and video.key not in opened]
    good_bytes = sum(row.video.size for row in rows)
    readable = good_bytes / sum(row.video.size for row in measured.videos)
    num_bytes = readable * sum(video.size for video in others)
    num_empty = len(to_do) - len(opened) - len(others)
    # workers that share a GPU take turns
    gpu_share = plan.gpus_per_worker if measured.device == "cuda" else 1.0
    slower = 1 / min(1.0, gpu_share)

    def per_byte(amounts: list[float]) -> tuple[float, float, float]:
        each = [amount / row.video.size for row, amount in zip(rows, amounts, strict=True)]
        return sum(amounts) / good_bytes, min(each), max(each)

    def total(amount: "Callable[[SampledVideo], float]") -> Estimate:
        amounts = [amount(row) for row in rows]
        return Estimate(*(sum(amounts) + rate * num_bytes for rate in per_byte(amounts)))

    def wall_s(seconds: dict[str, float]) -> float:
        pieces = [
            slower * each / cuts[key] for key, each in seconds.items() for _ in range(cuts[key])
        ]
        return measured.load_s + time_of_schedule(pieces, plan.workers)

    start_s = sum(row.start_s for row in rows) / len(rows)
    cases = [  # each video's seconds by key: estimate, minimum and maximum
        {row.video.key: row.start_s + row.seconds for row in rows}
        | {video.key: readable * (start_s + rate * video.size) for video in others}
        for rate in per_byte([row.seconds for row in rows])
    ]
    return Totals(
        frames=total(lambda row: row.frames_to_annotate),
        video_s=total(lambda row: row.duration_s),
        result_bytes=total(lambda row: row.frame_bytes * row.frames_to_annotate),
        work_s=Estimate(*(sum(seconds.values()) for seconds in cases)),
        wall_s=Estimate(*map(wall_s, cases)),
        unreadable=num_empty + (len(opened) - len(rows)) * (1 + len(others) / len(opened)),
    )


def time_of_schedule(seconds: Sequence[float], num_workers: int) -> float:
    """Returns when the last worker ends if each free worker takes the longest remaining task."""
    free_at = [0.0] * num_workers
    for task in sorted(seconds, reverse=True):
        heapq.heapreplace(free_at, free_at[0] + task)
    return max(free_at)
