"""Pictures of a training for the tracking store: loss curves, predictions on test videos."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.results.overlays import SHOWN_SCORE
from pipelines.results.score import LabelledVideos, frames_of
from pipelines.training.worker.loss_log import LOSS_PREFIX, NOT_LOSSES
from vis_core.files import whole_file
from vis_core.formats.categories import Categories
from vis_core.formats.youtube_vis import read_results, read_youtube_vis
from vis_core.rle.packed import PackedMasks
from vis_core.structures import Track, VideoResult
from vis_core.visualization.overlay import contact_strip, write_picture

_GAP = 8  # white pixels between videos


def write_loss_curves(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draws the losses of all stages as a PNG, one panel for the sum, one for its parts.

    Args:
        path: The picture.
        rows: Lines of losses (``loss_log.py``), stage after stage.
    """
    from matplotlib.ticker import ScalarFormatter

    canvas, (total, parts) = two_panels()
    places = _places(rows)
    names = sorted(
        {key.removeprefix(LOSS_PREFIX) for row in rows for key in row if LOSS_PREFIX in key}
    )
    for name in names:
        if name in NOT_LOSSES and name != "total":
            continue
        x, y = zip(*((p, r[LOSS_PREFIX + name]) for p, r in zip(places, rows, strict=True)
                     if LOSS_PREFIX + name in r), strict=True)  # fmt: skip
        (total if name == "total" else parts).plot(x, y, label=name, linewidth=1)
    for axes, title in ((total, "weighted sum"), (parts, "losses, unweighted")):
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_yscale("log")
        for place in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            place(ScalarFormatter())
        axes.grid(alpha=0.3)
        for start, stage in _starts(rows, places):
            axes.axvline(start, color="grey", linewidth=0.8)
            axes.annotate(f" {stage}", (start, 1), xycoords=("data", "axes fraction"), va="top")
    if parts.get_legend_handles_labels()[0]:
        parts.legend(ncols=4, fontsize=8)
    parts.set_xlabel("step")
    with whole_file(path) as partial:
        canvas.print_png(str(partial))


def two_panels() -> tuple[Any, Any]:
    """Makes a canvas (``print_png`` writes it) and its two axes over one axis of steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it tells of its font cache
    figure = Figure(figsize=(10, 6), layout="constrained")
    return FigureCanvasAgg(figure), figure.subplots(2, 1, sharex=True)


def write_samples(path: Path, videos: LabelledVideos, results: Path, count: int = 3) -> None:
    """Draws what a model finds on the first videos of a split, one strip of frames a video.

    Args:
        path: The picture, ``.jpg`` or ``.png``.
        videos: The split.
        results: What ``score_model`` wrote.
        count: Videos.
    """
    records, categories = read_youtube_vis(videos.annotations)
    entries = read_results(results, records, categories)
    strips = []
    for record in records[:count]:
        shown = _shown(entries, record.video_id, categories)
        result = VideoResult(record.height, record.width, len(record.file_names), shown)
        strips.append(contact_strip(frames_of(record, videos.frames), result, categories.names))
    width = max(strip.shape[1] for strip in strips)
    padded = [
        np.pad(s, ((0, _GAP), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(path, np.concatenate(padded))


def _shown(entries: Sequence[dict[str, Any]], video_id: int, categories: Categories) -> list[Track]:
    found = [e for e in entries if e["video_id"] == video_id and e["score"] >= SHOWN_SCORE]
    return [
        Track(
            track_id=number,
            label=categories.index_of_id(entry["category_id"]),
            score=entry["score"],
            masks=PackedMasks.of(entry["segmentations"]),
        )
        for number, entry in enumerate(found)
    ]


def _places(rows: Sequence[dict[str, Any]]) -> list[int]:
    """Numbers the steps over all stages."""
    places: list[int] = []
    first, last, stage = 0, 0, None
    for row in rows:
        if row["stage"] != stage:
            first, stage = last, row["stage"]
        last = first + row["step"]
        places.append(last)
    return places


def _starts(rows: Sequence[dict[str, Any]], places: Sequence[int]) -> list[tuple[int, str]]:
    starts: dict[str, int] = {}
    for row, place in zip(rows, places, strict=True):
        starts.setdefault(row["stage"], place - row["step"])
    return [(place, stage) for stage, place in starts.items()]
