"""What a report page is told: plain values, nothing computed, nothing read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.reports.charts import Mark, Series


@dataclass(frozen=True)
class Fact:
    """Is one thing to know about a run: its seed, its time, the digest of its config."""

    name: str
    value: str


@dataclass(frozen=True)
class StageRow:
    """Is one stage of training.

    Attributes:
        name: Such as ``image``, ``pseudo``, ``video``.
        steps: Optimiser steps.
        seconds: Time it took, or None if unknown.
        metrics: Scores after it: ``ap``, ``ap50``, …; -1 where there is no ground truth.
    """

    name: str
    steps: int
    seconds: float | None
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class TrialRow:
    """Is one setting that a sweep tried.

    Attributes:
        values: Dotted keys and what they were set to.
        score: What the sweep maximises, or None if the trial failed.
        note: Such as ``as it was`` or the reason of a failure.
    """

    values: Mapping[str, object]
    score: float | None
    note: str = ""


@dataclass(frozen=True)
class VideoCard:
    """Is one annotated video.

    Attributes:
        name: Of the video file.
        media: Its overlay: an mp4, or a strip of frames as PNG or JPEG; None if there is none.
        facts: Such as its frames and tracks.
    """

    name: str
    media: Path | None
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True)
class FailureRow:
    """Is one file that could not be annotated, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class ReportData:
    """Is everything on a report page; an empty part is left out.

    Attributes:
        title: Of the page.
        facts: About the run as a whole.
        headlines: A few large numbers for the top.
        notes: What a reader must know of the data, in sentences.
        stages: Training stages in order.
        final: Scores of the finished system, after the sweep; None if not measured.
        curves: Groups of lines by their heading, over the steps of all stages.
        marks: Where each stage starts on the curves.
        sweep: Trials, best first.
        sweep_metric: What the sweep maximised.
        videos: Annotated videos.
        failures: Videos without a result.
        archive: About the annotation of the archive.
        absent: What the run folder does not hold, in words.
    """

    title: str
    facts: tuple[Fact, ...] = ()
    headlines: tuple[Fact, ...] = ()
    notes: tuple[str, ...] = ()
    stages: tuple[StageRow, ...] = ()
    final: Mapping[str, float] | None = None
    curves: tuple[tuple[str, tuple[Series, ...]], ...] = ()
    marks: tuple[Mark, ...] = ()
    sweep: tuple[TrialRow, ...] = ()
    sweep_metric: str = "score"
    videos: tuple[VideoCard, ...] = ()
    failures: tuple[FailureRow, ...] = ()
    archive: tuple[Fact, ...] = ()
    absent: tuple[str, ...] = ()
