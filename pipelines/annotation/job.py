"""Annotates a video archive; each video gets exactly one result or one failure with a reason.

A failed video does not affect the others. Running the same command again annotates only pending
videos. Ray, torch and the model are loaded only when there is work.
"""

import os
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.annotation.archive.listing import Archive, ArchivedVideo, list_archive
from pipelines.annotation.ledger import Ledger, Survey, VideoRow, json_digest
from pipelines.annotation.options import AnnotateOptions
from pipelines.annotation.status import JobStatus
from pipelines.annotation.summary import AnnotateSummary, PendingCounts
from pipelines.annotation.superseded import remove_superseded
from pipelines.progress import Progress
from pipelines.registry.mlflow_registry import ModelReference
from pipelines.storage.local import LocalStorage
from pipelines.storage.open import open_storage
from vis_core.config.inference import InferenceConfig
from vis_core.errors import ConfigError

if TYPE_CHECKING:  # these modules import torch
    from pipelines.annotation.status import WorkerStatus
    from pipelines.annotation.worker import AnnotateJob, LoadSystem


def annotate_archive(
    archive: Path | str | Archive,
    out: Path | str,
    model: ModelReference,
    config: InferenceConfig | None = None,
    options: AnnotateOptions = AnnotateOptions(),  # noqa: B008 (frozen)
    *,
    load: "LoadSystem | None" = None,
) -> AnnotateSummary:
    """Annotates every video of an archive that has no outcome yet.

    Args:
        archive: Folder or s3:// prefix of videos, a video file, a list, or an ``Archive``.
        out: Folder or s3:// prefix for the results.
        load: Function that loads a model folder in each worker; None means ``load_system``.

    Raises:
        ConfigError: There is no video, or an option is out of range.
        CheckpointError: The model cannot be loaded.
        StorageError: The archive or the results cannot be reached.
    """
    config = config or InferenceConfig()
    options.validate(config)
    archive = archive if isinstance(archive, Archive) else list_archive(archive)
    _refuse_folder_of_videos(archive, out)
    settings = options.settings_document(config)
    ledger = Ledger(open_storage(out), json_digest([model.digest, settings]))
    survey = _survey_and_clean(ledger, archive, options)
    summary = _summary_of(survey, ledger, archive)
    if survey.pending:
        from pipelines.annotation.worker import AnnotateJob

        ledger.storage.check_conditional_writes()
        start_s = time.monotonic()
        job = AnnotateJob(archive.storage, ledger, model, config, options, load)
        try:
            _annotate_pending(job, survey.pending, summary)
        except KeyboardInterrupt:
            summary.interrupted = True
        summary.num_pending = len(archive.videos) - len(summary.rows)
        summary.seconds = time.monotonic() - start_s
    if options.redo == "changed-model" and not summary.interrupted:
        by_key = {video.key: video for video in archive.videos}
        done = [by_key[row.video] for row in summary.having("done")]
        summary.num_superseded = remove_superseded(ledger, done, model)
    about = {"model": str(model), "model_digest": model.digest, **settings}
    ledger.write_manifest(about, summary.rows)
    return summary


def _survey_and_clean(ledger: Ledger, archive: Archive, options: AnnotateOptions) -> Survey:
    """Removes leftovers of killed jobs and outcomes to redo, then surveys the videos."""
    ledger.storage.remove_stale_partials()
    survey = ledger.survey(archive.videos)
    to_redo = ledger.to_redo(survey, options.redo)
    for video in to_redo:
        ledger.forget(video)
    if to_redo:
        survey = ledger.survey(archive.videos)
    ledger.clear_finished(survey)
    return survey


def _annotate_pending(
    job: "AnnotateJob", pending: list[ArchivedVideo], summary: AnnotateSummary
) -> None:
    """Runs the pool and adds outcomes to the summary as they arrive."""
    from pipelines.annotation.actor_pool import AnnotatorPool
    from pipelines.annotation.work_queue import WorkQueue, num_segments
    from pipelines.cluster import ray_session
    from pipelines.config.run import RayConfig

    options = job.options
    num_workers = options.workers or os.cpu_count() or 1
    cuts = num_segments(pending, options.segments_with(job.config), num_workers)
    queue = WorkQueue(pending, cuts, stitched=options.is_stitched)
    num_workers = min(num_workers, len(queue))
    # a worker takes few enough videos that no other worker stays idle
    at_once = min(job.config.videos_at_once, -(-len(queue) // num_workers))
    status = JobStatus(job.ledger.storage, {"model": str(job.model)})
    counted = PendingCounts(summary, {video.key: video.size for video in pending})
    with (
        status,
        ray_session(RayConfig(num_workers=num_workers), options.address),
        Progress(len(pending), "videos", "annotate") as progress,
    ):
        pool = AnnotatorPool(job, num_workers, at_once)

        def note(num_frames: int, workers: list["WorkerStatus"]) -> None:
            if any(worker.video for worker in workers):  # no status until a model has loaded
                status.update(counted.counts(num_frames), workers)
            progress.update(0, counted.in_words(num_frames))

        with closing(pool.run(queue, note)) as outcomes:
            for row in outcomes:
                counted.add(row)
                progress.update(1, counted.in_words(0))
        status.update(counted.counts(0))


def _summary_of(survey: Survey, ledger: Ledger, archive: Archive) -> AnnotateSummary:
    """Returns a summary with the outcomes of earlier runs."""
    summary = AnnotateSummary(
        ledger.storage.uri, skipped_entries=archive.skipped, other_files=archive.others
    )
    for video in survey.done:
        summary.rows.append(VideoRow(video.key, "done", result=ledger.result_key(video)))
    summary.rows += [ledger.failure(video) for video in survey.failed]
    summary.num_skipped = len(summary.rows)
    return summary


def _refuse_folder_of_videos(archive: Archive, out: Path | str) -> None:
    """Raises if the results folder is also the folder searched for videos."""
    if isinstance(archive.storage, LocalStorage) and not str(out).startswith("s3://"):
        root, target = archive.storage.root.resolve(), Path(out).resolve()
        if target == root:
            raise ConfigError(f"{out}: is the folder of the videos; give another one with --out")
