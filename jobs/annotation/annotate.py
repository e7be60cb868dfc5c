"""``longtake annotate``: an annotation file for each video."""

import json
import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from jobs import options
from jobs.options import argument, option
from vis_core.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.annotation.options import Segments

TOO_MANY_FAILED, INTERRUPTED = 3, 130

DETAILS = (
    "--out is a folder or s3://BUCKET/PREFIX. Finished videos are skipped, so the same command "
    "resumes a stopped job. --dry-run opens a few videos, times the model on them and estimates "
    "the whole job. Without --tracking-uri, registered models come from MLFLOW_TRACKING_URI. By "
    "default there is one worker per core."
)
EXAMPLES = (
    "longtake annotate videos --model models/ctvis --out annotations",
    "longtake annotate s3://bucket/videos --model models:/longtake@champion --out s3://bucket/out",
    "longtake annotate videos --model models/ctvis --out annotations --dry-run --gpu-hour-cost 2",
)


_filter = partial(option, rich_help_panel="Which videos")
_planned = partial(option, rich_help_panel="Plan")


def _parse_segments(text: str) -> "Segments":
    if text == "auto":
        return "auto"
    if text.isdecimal() and int(text):
        return int(text)
    raise ValueError(f"expected a number from 1 or auto, found {text!r}")


def run(
    *,
    videos: Annotated[
        str,
        argument(
            "VIDEOS", "Folder, video file, s3://BUCKET/PREFIX, or a .txt, .csv or .parquet list."
        ),
    ],
    model: options.RequiredModel,
    out: options.RequiredOut,
    overrides: options.Set,
    views: Annotated[
        str | None,
        option(
            "--views LIST",
            "Short sides at which to annotate each video, such as 480,640,640+flip; the results "
            "are fused.",
        ),
    ] = None,
    max_frames: options.MaxFrames = None,
    sample_fps: Annotated[
        float | None, option("--sample-fps R", "Annotate at most R frames per second.")
    ] = None,
    workers: options.Workers = None,
    gpus_per_worker: Annotated[
        float, option("--gpus-per-worker G", "GPUs per worker; may be a fraction.")
    ] = 0.0,
    segments: Annotated[
        str,
        option(
            "--segments N|auto",
            "Number of segments per video, which are predicted in parallel; auto cuts videos that "
            "would keep one worker busy while others are idle. Only stitched results depend on it.",
            parser=_parse_segments,
        ),
    ] = "auto",
    join: Annotated[
        Literal["exact", "stitched"],
        option(
            "--join",
            "Associate all segments in one pass (exact), or each segment separately, with a "
            "confidence for each join (stitched).",
        ),
    ] = "exact",
    max_failed: Annotated[
        int | None, option("--max-failed N", "Exit with code 3 if more than N videos fail.")
    ] = None,
    redo: Annotated[
        Literal["failed", "machine-errors", "all", "changed-model"] | None,
        option(
            "--redo",
            "Annotate failed videos or all videos again; machine-errors selects videos that an "
            "earlier release quarantined for an error of the machine; changed-model removes the "
            "results of other models or settings once new results exist.",
        ),
    ] = None,
    tracking_uri: options.TrackingUri = None,
    model_cache: Annotated[
        Path, option("--model-cache DIR", "Folder for downloaded models.")
    ] = options.MODEL_CACHE,
    address: options.Address = None,
    globs: options.Globs,
    suffix: Annotated[
        str | None, _filter("--suffix LIST", "Only files with these suffixes, such as mp4,mkv.")
    ] = None,
    min_size: Annotated[
        str | None, _filter("--min-size BYTES", "Minimum file size, such as 500k, 20M or 3G.")
    ] = None,
    max_size: Annotated[
        str | None, _filter("--max-size BYTES", "Maximum file size; see --min-size.")
    ] = None,
    modified_after: Annotated[
        str | None, _filter("--modified-after DATE", "Only videos modified on or after DATE (UTC).")
    ] = None,
    modified_before: Annotated[
        str | None, _filter("--modified-before DATE", "Only videos modified before DATE (UTC).")
    ] = None,
    frames_as_videos: Annotated[
        float | None,
        option(
            "--frames-as-videos RATE",
            "Also take each folder of numbered pictures as a video of RATE pictures per second.",
        ),
    ] = None,
    dry_run: options.DryRun = False,
    plan_samples: Annotated[
        int | None, _planned("--plan-samples N", "Number of videos that --dry-run opens.")
    ] = None,
    gpu_hour_cost: Annotated[
        float | None, _planned("--gpu-hour-cost X", "Price of one GPU hour.")
    ] = None,
    as_json: options.Json = False,
) -> int:
    """Annotates an archive and prints a summary, or prints the plan of a dry run."""
    from pipelines.annotation.archive.filters import parse_filter
    from pipelines.annotation.archive.listing import list_archive
    from pipelines.annotation.options import AnnotateOptions, PlanRequest
    from pipelines.registry.mlflow_registry import resolve_model

    if not dry_run and (plan_samples, gpu_hour_cost) != (None, None):
        raise ConfigError("--plan-samples and --gpu-hour-cost only work with --dry-run")
    wanted = parse_filter(
        suffixes=suffix.split(",") if suffix else (),
        globs=globs,
        min_size=min_size,
        max_size=max_size,
        after=modified_after,
        before=modified_before,
        picture_rate=frames_as_videos,
    )
    archive = list_archive(videos, wanted)  # before a model is fetched
    short = [f"inference.views={json.dumps(views.split(','))}"] if views else []
    short += [f"inference.sample_fps={sample_fps}"] if sample_fps is not None else []
    if frames_as_videos is not None:
        short += [f"inference.picture_rate={frames_as_videos}"]
    config = options.inference_config([*short, *overrides])
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    resolved = resolve_model(model, uri, model_cache.expanduser())
    job_options = AnnotateOptions(
        max_frames=max_frames,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        redo=redo,
        segments=segments,  # type: ignore[arg-type]  # as parsed
        join=join,
        address=address,
    )
    if dry_run:
        from pipelines.annotation.plan.plan import plan_archive, plan_lines

        samples = PlanRequest.num_samples if plan_samples is None else plan_samples
        request = PlanRequest(config, job_options, samples, gpu_hour_cost)
        document = asdict(plan_archive(archive, out, resolved, request))
        options.report(document, plan_lines(document), as_json=as_json)
        return 0
    from pipelines.annotation.job import annotate_archive

    summary = annotate_archive(archive, out, resolved, config, job_options)
    options.report(asdict(summary), summary.describe(), as_json=as_json)
    if summary.interrupted:
        print("longtake annotate: stopped; the same command resumes from here", file=sys.stderr)
        return INTERRUPTED
    num_failed = len(summary.rows) - len(summary.having("done"))
    return TOO_MANY_FAILED if max_failed is not None and num_failed > max_failed else 0
