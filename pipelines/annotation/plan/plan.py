"""Says what annotating an archive would take, from a sample that is really annotated for a while.

Writes nothing and starts no Ray. What is measured is measured in this process, with one thread as
a worker has; everything else follows from it, and ``jobs/annotation/plan_options.py`` says which
is which.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.annotation.archive.listing import Archive, ArchivedVideo
from pipelines.annotation.ledger import Ledger, json_digest
from pipelines.annotation.plan.request import PlanRequest
from pipelines.annotation.plan.sampling import (
    ArchiveSample,
    Estimate,
    draw_sample,
    estimate_total,
    predict_each,
    time_of_schedule,
)
from pipelines.annotation.work_queue import num_segments
from pipelines.registry.mlflow_registry import ModelReference
from pipelines.storage.open import open_storage

if TYPE_CHECKING:  # torch comes with them
    from pipelines.annotation.plan.measure import LoadSystem, Measured, SampledVideo


@dataclass(frozen=True)
class Totals:
    """Is what the videos that are to do hold and take.

    Attributes:
        frames: To be annotated.
        video_s: Seconds that these frames play.
        unreadable: Videos that cannot be read.
        work_s: Seconds of one worker alone.
        wall_s: Seconds until the last worker ends.
        longest_s: Seconds of the longest video, for one worker.
        longest_cut: Segments that it is cut into.
        result_bytes: Of all results.
    """

    frames: Estimate
    video_s: Estimate
    unreadable: Estimate
    work_s: Estimate
    wall_s: Estimate
    longest_s: float
    longest_cut: int
    result_bytes: Estimate


@dataclass(frozen=True)
class AnnotatePlan:
    """Is what annotating an archive would take.

    Attributes:
        out: Where the results would go.
        model: The model.
        request: What was asked.
        num_done: Videos with a result.
        num_failed: Videos with a failure.
        to_do: The rest, and what is to be done again.
        skipped: Names and reasons of entries of the archive that are left out.
        num_workers: Workers that there would be.
        sample: The draw; None if nothing is to do.
        measured: What was found in it; None if nothing is to do.
        totals: What follows for all; None if no video of the sample could be read.
    """

    out: str
    model: str
    request: PlanRequest
    num_done: int
    num_failed: int
    to_do: list[ArchivedVideo]
    skipped: list[tuple[str, str]]
    num_workers: int = 0
    sample: ArchiveSample | None = None
    measured: "Measured | None" = None
    totals: Totals | None = None

    def gpu_hours(self) -> Estimate | None:
        """Hours times GPUs that are held; None if the model was not measured on one."""
        if self.totals is None or self.measured is None or not self.measured.on_gpu:
            return None
        return self.totals.wall_s.scaled(
            self.num_workers * self.request.options.gpus_per_worker / 3600
        )

    def cost(self) -> Estimate | None:
        """What the GPU hours cost; None without a price or a GPU."""
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
    """Finds out what ``annotate_archive`` would do and take; the results are only listed.

    Args:
        archive: The videos.
        out: Folder or s3:// prefix of the results.
        model: One exact model.
        request: What the job would be told, and how it is looked into.
        load: Makes a system of a model folder; None means ``load_system``.
        clock: Gives seconds from any start.

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
    plan = AnnotatePlan(
        ledger.storage.uri,
        str(model),
        request,
        len(survey.done),
        len(survey.failed),
        to_do,
        archive.skipped,
    )
    if not to_do:
        return plan
    from pipelines.annotation.plan.measure import measure_sample

    workers = options.workers or os.cpu_count() or 1
    cuts = num_segments(to_do, options.segments_with(request.config), workers)
    workers = min(workers, sum(cuts.values()))
    sample = draw_sample(to_do, request.num_samples, request.seed)
    measured = measure_sample(sample, archive.storage, model, request, workers, load, clock)
    parts = {**vars(plan), "num_workers": workers, "sample": sample, "measured": measured}
    return AnnotatePlan(**{**parts, "totals": _totals(sample, measured, workers, cuts, request)})


def _totals(
    sample: ArchiveSample,
    measured: "Measured",
    num_workers: int,
    cuts: dict[str, int],
    request: PlanRequest,
) -> Totals | None:
    """Takes what was measured to all videos."""
    rows = measured.videos
    if measured.frames_per_s == 0:
        return None
    seconds = [measured.seconds_of(row) for row in rows]
    sharing = request.options.gpus_per_worker if measured.on_gpu else 1.0
    each = [one / min(1.0, sharing) for one in predict_each(sample, seconds)]
    work_s = estimate_total(sample, seconds)
    videos = [*(drawn.video for drawn in sample.drawn), *sample.others]
    own_cuts = [cuts[video.key] for video in videos]
    pieces = [one / cut for one, cut in zip(each, own_cuts, strict=True) for _ in range(cut)]
    wall_s = time_of_schedule(pieces, num_workers) + measured.load_s
    longest = each.index(max(each))
    return Totals(
        frames=estimate_total(sample, [row.frames_to_annotate for row in rows]),
        video_s=estimate_total(sample, [row.duration_s for row in rows]),
        unreadable=_unreadable(sample, rows),
        work_s=work_s,
        wall_s=_alike(wall_s, work_s, max(pieces)),
        longest_s=each[longest],
        longest_cut=own_cuts[longest],
        result_bytes=estimate_total(sample, [row.frames_to_annotate for row in rows]).scaled(
            measured.result_bytes_per_frame
        ),
    )


def _alike(value: float, other: Estimate, floor: float) -> Estimate:
    """Gives a value the relative interval of another estimate, not below what is certain."""
    high = None if other.high is None else value * other.high / other.value
    return Estimate(value, max(min(floor, value), value * other.low / other.value), high)


def _unreadable(sample: ArchiveSample, rows: "list[SampledVideo]") -> Estimate:
    found = estimate_total(sample, [row.problem != "" for row in rows], by_bytes=False)
    high = None if found.high is None else found.high + len(sample.empty)
    return Estimate(found.value + len(sample.empty), found.low + len(sample.empty), high)
