"""Plans an annotation job: measures a few videos and extrapolates to all, linear in bytes.

Writes nothing to the results and starts no Ray. The ranges come from the sampled videos with the
least and the most per byte; they are not confidence intervals.
"""

import heapq
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.annotation.archive.listing import Archive, ArchivedVideo
from pipelines.annotation.ledger import Ledger, json_digest
from pipelines.annotation.plan.request import PlanRequest
from pipelines.annotation.work_queue import num_segments
from pipelines.registry.mlflow_registry import ModelReference
from pipelines.storage.open import open_storage

if TYPE_CHECKING:  # these modules import torch
    from pipelines.annotation.plan.measure import Measured, SampledVideo
    from pipelines.annotation.worker import LoadSystem

    Amount = Callable[[SampledVideo], float]


@dataclass(frozen=True)
class Estimate:
    """A number with its range."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> "Estimate":
        """Returns the number and its range times a factor."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Totals:
    """Content and cost of all videos to annotate.

    Attributes:
        frames: Frames to annotate.
        video_s: Seconds that these frames play.
        result_bytes: Bytes of all results.
        work_s: Seconds of one worker alone.
        wall_s: Seconds until the last worker ends, the model's loading included.
        unreadable: Videos that cannot be read.
        longest_s: Seconds of one worker for the longest video.
        longest_cut: Segments of the longest video.
    """

    frames: Estimate
    video_s: Estimate
    result_bytes: Estimate
    work_s: Estimate
    wall_s: Estimate
    unreadable: float
    longest_s: float
    longest_cut: int


@dataclass(frozen=True)
class AnnotatePlan:
    """A plan of an annotation job.

    Attributes:
        out: Where the results would go.
        model: Name of the model.
        request: Settings of the job and of the plan.
        num_done: Videos with a result.
        num_failed: Videos with a failure.
        to_do: Videos that the job would annotate.
        skipped: Names and reasons of entries of the archive that are left out.
        num_workers: Workers of the job.
        measured: Measurements of the sample; None if there is nothing to do.
        totals: Estimates for all videos to do; None if no sampled video could be read.
    """

    out: str
    model: str
    request: PlanRequest
    num_done: int
    num_failed: int
    to_do: list[ArchivedVideo]
    skipped: list[tuple[str, str]]
    num_workers: int = 0
    measured: "Measured | None" = None
    totals: Totals | None = None

    def gpu_hours(self) -> Estimate | None:
        """Returns the GPU hours that are reserved; None if the model did not run on a GPU."""
        if self.totals is None or self.measured is None or self.measured.device != "cuda":
            return None
        num_gpus = self.num_workers * self.request.options.gpus_per_worker
        return self.totals.wall_s.scaled(num_gpus / 3600)

    def cost(self) -> Estimate | None:
        """Returns the price of the GPU hours; None without a price or a GPU."""
        hours, price = self.gpu_hours(), self.request.gpu_hour_cost
        return None if hours is None or price is None else hours.scaled(price)


def plan_archive(
    archive: Archive,
    out: Path | str,
    model: ModelReference,
    request: PlanRequest,
    *,
    load: "LoadSystem | None" = None,
    clock: Callable[[], float] = time.monotonic,
) -> AnnotatePlan:
    """Estimates what ``annotate_archive`` would do; existing results are only listed.

    Args:
        archive: The videos.
        out: Folder or s3:// prefix of the results.
        model: One exact model version.
        request: Settings of the job and of the plan.
        load: Loads a system from a model folder; None means ``load_system``.
        clock: Seconds since an arbitrary start.

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
    num_done, num_failed = len(survey.done), len(survey.failed)
    plan = AnnotatePlan(
        ledger.storage.uri, str(model), request, num_done, num_failed, to_do, archive.skipped
    )
    if not to_do:
        return plan
    from pipelines.annotation.plan.measure import choose_sample, measure_sample

    workers = options.workers or os.cpu_count() or 1
    cuts = num_segments(to_do, options.segments_with(request.config), workers)
    workers = min(workers, sum(cuts.values()))
    sample = choose_sample(to_do, request.num_samples)
    measured = measure_sample(sample, archive.storage, model, request, workers, load, clock)
    plan = replace(plan, num_workers=workers, measured=measured)
    return replace(plan, totals=_totals(plan, measured, cuts)) if measured.readable else plan


def _totals(plan: AnnotatePlan, measured: "Measured", cuts: dict[str, int]) -> Totals:
    """Extrapolates the measurements to all videos to do."""
    rows, opened = measured.readable, {row.video.key for row in measured.videos}
    others = [video for video in plan.to_do if video.size and video.key not in opened]
    readable = _bytes_of(rows) / _bytes_of(measured.videos)
    num_bytes = readable * sum(video.size for video in others)
    num_bad = len(measured.videos) - len(rows)
    num_empty = len(plan.to_do) - len(opened) - len(others)
    # workers that share a GPU take turns
    gpu_share = plan.request.options.gpus_per_worker if measured.device == "cuda" else 1.0
    slower = 1 / min(1.0, gpu_share)

    def wall_s(seconds: dict[str, float]) -> float:
        pieces = [
            slower * each / cuts[key] for key, each in seconds.items() for _ in range(cuts[key])
        ]
        return measured.load_s + time_of_schedule(pieces, plan.num_workers)

    cases = _seconds_of_each(rows, others, readable)
    longest, longest_s = max(cases[0].items(), key=lambda item: item[1])
    return Totals(
        frames=_total(rows, num_bytes, lambda row: row.frames_to_annotate),
        video_s=_total(rows, num_bytes, lambda row: row.duration_s),
        result_bytes=_total(rows, num_bytes, lambda row: row.frame_bytes * row.frames_to_annotate),
        work_s=Estimate(*(sum(seconds.values()) for seconds in cases)),
        wall_s=Estimate(*map(wall_s, cases)),
        unreadable=num_empty + num_bad * (1 + len(others) / len(measured.videos)),
        longest_s=slower * longest_s,
        longest_cut=cuts[longest],
    )


def _seconds_of_each(
    rows: "Sequence[SampledVideo]", others: Sequence[ArchivedVideo], readable: float
) -> list[dict[str, float]]:
    """Returns the seconds of every video by key: the estimate, the least and the most."""
    opened = {row.video.key: row.start_s + row.seconds for row in rows}
    start_s = sum(row.start_s for row in rows) / len(rows)
    return [
        opened | {video.key: readable * (start_s + rate * video.size) for video in others}
        for rate in _per_byte(rows, lambda row: row.seconds)
    ]


def _total(rows: "Sequence[SampledVideo]", num_bytes: float, amount: "Amount") -> Estimate:
    """Returns the amount of the opened videos and of so many bytes of others."""
    opened = sum(map(amount, rows))
    return Estimate(*(opened + rate * num_bytes for rate in _per_byte(rows, amount)))


def _per_byte(rows: "Sequence[SampledVideo]", amount: "Amount") -> tuple[float, float, float]:
    """Returns the amount per byte: of the whole sample, and the least and the most of a video."""
    each = [amount(row) / row.video.size for row in rows]
    return sum(map(amount, rows)) / _bytes_of(rows), min(each), max(each)


def _bytes_of(rows: "Sequence[SampledVideo]") -> int:
    return sum(row.video.size for row in rows)


def time_of_schedule(seconds: Sequence[float], num_workers: int) -> float:
    """Returns when the last worker ends if each takes the longest task left in turn.

    Args:
        seconds: (N,) duration of each task.
        num_workers: Number of workers, at least 1.
    """
    free_at = [0.0] * num_workers
    for task in sorted(seconds, reverse=True):
        heapq.heapreplace(free_at, free_at[0] + task)
    return max(free_at)
