"""The contents of a report page as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.reports.charts import Mark, Series

Curves = tuple[tuple[str, tuple[Series, ...]], ...]  # groups of lines with their headings


@dataclass(frozen=True)
class Fact:
    """A named value of a run, such as its seed, its time or the digest of its config."""

    name: str
    value: str


@dataclass(frozen=True)
class StageRow:
    """One stage of training.

    Attributes:
        name: Such as ``image``, ``pseudo``, ``video``.
        steps: Optimizer steps.
        seconds: Duration, or None if unknown.
        metrics: Scores after the stage: ``ap``, ``ap50``, …; -1 where there is no ground truth.
    """

    name: str
    steps: int
    seconds: float | None
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class TrialRow:
    """One trial of a sweep.

    Attributes:
        values: Settings by dotted key.
        score: The metric that the sweep maximises, or None if the trial failed.
        note: Such as ``before the sweep`` or the reason of a failure.
    """

    values: Mapping[str, object]
    score: float | None
    note: str = ""


@dataclass(frozen=True)
class VideoCard:
    """One annotated video.

    Attributes:
        name: Name of the video file.
        media: Its overlay: an mp4, or a strip of frames as PNG or JPEG; None if there is none.
        facts: Such as its frames and tracks.
    """

    name: str
    media: Path | None
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True)
class FailureRow:
    """A file that could not be annotated, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class ReportData:
    """All contents of a report page; empty parts are left out.

    Attributes:
        title: Title of the page.
        facts: Facts about the whole run.
        headlines: A few large numbers for the top.
        notes: Remarks on the data, one sentence each, without the full stop.
        stages: Training stages in order.
        final: Scores of the finished system, after the sweep; None if not measured.
        curves: Groups of lines, over the steps of all stages.
        marks: Start of each stage on the curves.
        sweep: Trials, best first.
        sweep_metric: Name of the metric that the sweep maximised.
        videos: Annotated videos.
        failures: Videos without a result.
        archive: Facts about the annotation of the archive.
        absent: Parts that the run folder does not hold, in words.
    """

    title: str
    facts: tuple[Fact, ...] = ()
    headlines: tuple[Fact, ...] = ()
    notes: tuple[str, ...] = ()
    stages: tuple[StageRow, ...] = ()
    final: Mapping[str, float] | None = None
    curves: Curves = ()
    marks: tuple[Mark, ...] = ()
    sweep: tuple[TrialRow, ...] = ()
    sweep_metric: str = "score"
    videos: tuple[VideoCard, ...] = ()
    failures: tuple[FailureRow, ...] = ()
    archive: tuple[Fact, ...] = ()
    absent: tuple[str, ...] = ()
