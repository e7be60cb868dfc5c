"""Annotates an archive of videos: each video exactly one result, or one stated reason.

A video costs only itself. The same command again does what is left, and nothing if nothing is.
Ray, torch and the model start only when there is work.
"""

import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipelines.annotation.archive.listing import Archive, ArchivedVideo, list_archive
from pipelines.annotation.ledger import Ledger, Survey, VideoRow, json_digest
from pipelines.annotation.status import JobStatus
from pipelines.annotation.summary import AnnotateSummary, PendingCounts
from pipelines.annotation.superseded import remove_superseded
from pipelines.annotation.work_queue import Segments
from pipelines.progress import Progress
from pipelines.registry.mlflow_registry import ModelReference
from pipelines.storage.local import LocalStorage
from pipelines.storage.open import open_storage
from vis_core.config.inference import InferenceConfig
from vis_core.config.stitching import StitchConfig
from vis_core.errors import ConfigError

if TYPE_CHECKING:  # torch comes with it
    from pipelines.annotation.status import WorkerStatus
    from pipelines.annotation.worker import AnnotateJob, LoadSystem


Redo = Literal["failed", "all", "changed-model"]
Join = Literal["exact", "stitched"]


def annotate_archive(
    videos: Path | str | Archive,
    out: Path | str,
    model: ModelReference,
    config: InferenceConfig | None = None,
    *,
    load: "LoadSystem | None" = None,
    num_workers: int | None = None,
    gpus_per_worker: float = 0.0,
    max_frames: int | None = None,
    redo: Redo | None = None,
    address: str | None = None,
    save_every: int | None = None,
    segments: Segments = "auto",
    join: Join = "exact",
    clock: Callable[[], float] = time.monotonic,
) -> AnnotateSummary:
    """Annotates every video that has no outcome yet.

    Args:
        videos: Folder, video file or s3:// prefix, or its listing.
        out: Folder or s3:// prefix of the results.
        model: One exact model, see ``resolve_model``.
        config: How a video is walked through.
        load: Makes a system of a model folder, in the workers; None means ``load_system``.
        num_workers: Actors; None means one for each core.
        gpus_per_worker: Share of a GPU that each actor gets.
        max_frames: Frames annotated of each video; None means all.
        redo: What is done again: the videos that have failed, or all; their outcomes are removed
            first. Or "changed-model": what other versions of the model or other settings have made
            of the videos leaves when this one is done. None leaves what is done.
        address: Of a running Ray cluster; None starts a local one.
        save_every: Frames of a video after which its state is saved; None means ``SAVE_EVERY``.
        segments: Into how many segments each video is cut, that workers see at once; "auto" cuts
            those that would keep one worker busy alone. The results do not depend on it, unless
            they are stitched.
        join: "exact" names all segments of a video in one pass, which gives what one walk gives;
            "stitched" names them at once and joins them, with a confidence for each join.
        clock: Gives seconds from any start.

    Raises:
        ConfigError: If there is no video, or a number is out of range.
        CheckpointError: If the model cannot be loaded.
        StorageError: If the archive or the results cannot be reached.
    """
    config = config or InferenceConfig()
    _refuse_less_than_one(max_frames=max_frames, workers=num_workers, save_every=save_every)
    segments = validate_segments(segments, config, join)
    archive = videos if isinstance(videos, Archive) else list_archive(videos)
    _refuse_inside(archive, out)
    stitched = stitch_count(segments, join)
    settings = settings_document(config, max_frames, stitched)
    ledger = Ledger(open_storage(out), json_digest([model.digest, settings]))
    ledger.storage.remove_stale_partials()
    survey = ledger.survey(archive.videos)
    for video in videos_to_redo(survey, redo):
        ledger.forget(video)
    survey = ledger.survey(archive.videos) if redo else survey
    ledger.clear_finished(survey)
    summary = _summary_of(survey, ledger, archive)
    pending = survey.pending
    if pending:
        from pipelines.annotation.worker import SAVE_EVERY, AnnotateJob

        ledger.storage.check_conditional_writes()
        start_s = clock()
        job = AnnotateJob(
            archive.storage,
            ledger,
            model,
            config,
            max_frames,
            load,
            save_every or SAVE_EVERY,
            None if stitched is None else StitchConfig(),
        )
        workers = num_workers or os.cpu_count() or 1
        try:
            _annotate_pending(job, pending, summary, segments, workers, gpus_per_worker, address)
        except KeyboardInterrupt:
            summary.interrupted = True
        summary.num_pending = len(archive.videos) - len(summary.rows)
        summary.seconds = clock() - start_s
    if redo == "changed-model" and not summary.interrupted:
        by_key = {video.key: video for video in archive.videos}
        done = [by_key[row.video] for row in summary.having("done")]
        summary.num_superseded = remove_superseded(ledger, done, model)
    about: dict[str, Any] = {"model": str(model), "model_digest": model.digest, **settings}
    ledger.write_manifest(about, summary.rows)
    return summary


def _annotate_pending(
    job: "AnnotateJob",
    pending: list[ArchivedVideo],
    summary: AnnotateSummary,
    segments: Segments,
    num_workers: int,
    gpus_per_worker: float,
    address: str | None,
) -> None:
    """Runs the pool and fills the summary as the outcomes come."""
    from pipelines.annotation.actor_pool import AnnotatorPool
    from pipelines.annotation.work_queue import WorkQueue, num_segments
    from pipelines.cluster import ray_session
    from pipelines.config.run import RayConfig

    status = JobStatus(job.ledger.storage, {"model": str(job.model)})
    cuts = num_segments(pending, segments, num_workers)
    queue = WorkQueue(pending, cuts, stitched=job.stitch is not None)
    num_workers = min(num_workers, len(queue))
    # no worker takes what would leave another one without
    at_once = min(job.config.videos_at_once, -(-len(queue) // num_workers))
    counted = PendingCounts(summary, {video.key: video.size for video in pending})
    with (
        status,
        ray_session(RayConfig(num_workers=num_workers), address),
        Progress(len(pending), "videos", "annotate") as progress,
    ):
        pool = AnnotatorPool(job, num_workers, gpus_per_worker, at_once)

        def note(num_frames: int, workers: list["WorkerStatus"]) -> None:
            if any(worker.video for worker in workers):  # a model that does not load leaves nothing
                status.update(counted.counts(num_frames), workers)
            progress.update(0, counted.in_words(num_frames))

        with closing(pool.run(queue, note)) as outcomes:
            for row in outcomes:
                counted.add(row)
                progress.update(1, counted.in_words(0))
        status.update(counted.counts(0))


def validate_segments(
    segments: Segments, config: InferenceConfig, join: Join = "exact"
) -> Segments:
    """Gives the segments that videos are cut into; results of several views are fused uncut.

    Raises:
        ConfigError: There is no such number of segments.
    """
    if segments != "auto" and segments < 1:
        raise ConfigError(f"segments: expected at least 1 or auto, found {segments}")
    if join == "stitched" and segments == "auto":
        raise ConfigError(
            "segments: auto depends on the workers, and so would results that are stitched; name a "
            "number with --segments, or take --join exact"
        )
    if len(config.views) < 2:
        return segments
    if segments in ("auto", 1):
        return 1
    raise ConfigError(
        f"segments: {segments} wanted, but what {len(config.views)} views show of a video is fused"
        " at its end; leave --segments out, or give one view"
    )


def settings_document(
    config: InferenceConfig, max_frames: int | None, stitched: int | None = None
) -> dict[str, Any]:
    """Gives what shapes the results of a run beside the model.

    Args:
        config: How videos are walked through.
        max_frames: Frames annotated of each video; None means all.
        stitched: Segments that are named apart; None if all are named in one pass.
    """
    settings = {"inference": config.model_dump(mode="json"), "max_frames": max_frames}
    if stitched is None:
        return settings
    stitching = StitchConfig().model_dump(mode="json")
    return {**settings, "stitching": {"segments": stitched, **stitching}}


def stitch_count(segments: Segments, join: Join) -> int | None:
    """Segments that are named apart; None if all are named in one pass."""
    if join == "exact" or segments == "auto" or segments == 1:
        return None
    return segments


def videos_to_redo(survey: Survey, redo: Redo | None) -> list[ArchivedVideo]:
    """Gives the videos that have an outcome and are to be done again."""
    if redo is None or redo == "changed-model":
        return []
    return survey.failed + (survey.done if redo == "all" else [])


def _summary_of(survey: Survey, ledger: Ledger, archive: Archive) -> AnnotateSummary:
    """Says what earlier runs have finished."""
    summary = AnnotateSummary(ledger.storage.uri, skipped_entries=archive.skipped)
    for video in survey.done:
        summary.rows.append(VideoRow(video.key, "done", result=ledger.result_key(video)))
    summary.rows += [ledger.failure(video) for video in survey.failed]
    summary.num_skipped = len(summary.rows)
    return summary


def _refuse_inside(archive: Archive, out: Path | str) -> None:
    """Keeps results out of a folder whose content another run would take for its input."""
    if isinstance(archive.storage, LocalStorage) and not str(out).startswith("s3://"):
        root, target = archive.storage.root.resolve(), Path(out).resolve()
        if target == root:
            raise ConfigError(f"{out}: is the folder of the videos; name another one with --out")


def _refuse_less_than_one(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and number < 1:
            raise ConfigError(f"{name}: expected at least 1, found {number}")
