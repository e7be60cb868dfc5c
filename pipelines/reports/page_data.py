"""The contents of a report page as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.reports.charts import Mark, Series

Curves = tuple[tuple[str, tuple[Series, ...]], ...]  # groups of lines with their headings


@dataclass(frozen=True)
class Fact:
    """A named value of a run, such as its seed, its duration or the digest of its config."""

    name: str
    value: str


@dataclass(frozen=True)
class StageRow:
    """One training stage and the scores after it."""

    name: str
    steps: int
    seconds: float | None  # None if unknown
    metrics: Mapping[str, float]  # ``ap``, ``ap50``, …; -1 where there is no ground truth


@dataclass(frozen=True)
class TrialRow:
    """One trial of a sweep."""

    values: Mapping[str, object]  # settings by dotted key
    score: float | None  # AP, or None if the trial failed
    note: str = ""  # such as ``before the sweep``


@dataclass(frozen=True)
class VideoCard:
    """One annotated video."""

    name: str
    media: Path | None  # its overlay: an mp4, or a strip of frames as PNG or JPEG
    facts: tuple[Fact, ...] = ()  # such as its frames and tracks


@dataclass(frozen=True)
class FailureRow:
    """A file that could not be annotated, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class ReportData:
    """All contents of a report page; empty parts are omitted."""

    title: str
    facts: tuple[Fact, ...] = ()
    headlines: tuple[Fact, ...] = ()  # a few large numbers at the top of the page
    notes: tuple[str, ...] = ()  # remarks on the data, one sentence each, without a full stop
    stages: tuple[StageRow, ...] = ()  # in order
    final: Mapping[str, float] | None = None  # scores after the sweep; None if not measured
    curves: Curves = ()  # over the steps of all stages
    marks: tuple[Mark, ...] = ()  # the start of each stage on the curves
    sweep: tuple[TrialRow, ...] = ()  # best first
    videos: tuple[VideoCard, ...] = ()
    failures: tuple[FailureRow, ...] = ()
    archive: tuple[Fact, ...] = ()  # about the annotated archive
    absent: tuple[str, ...] = ()  # descriptions of the parts missing from the run folder
