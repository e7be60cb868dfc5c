"""The outcome of an annotation job, and its progress while it runs."""

from collections import Counter
from dataclasses import dataclass, field

from pipelines.annotation.archive.passed_over import describe_other_files, describe_skipped
from pipelines.annotation.ledger import VideoRow
from pipelines.annotation.status import JobCounts
from pipelines.progress import in_words
from vis_core.errors import shown_name


@dataclass
class AnnotateSummary:
    """The outcome of a job."""

    out: str
    rows: list[VideoRow] = field(default_factory=list)  # outcomes of all videos that have one
    num_skipped: int = 0  # rows from earlier runs
    num_pending: int = 0  # videos without an outcome after an interrupted job
    # names of omitted archive entries, each with the reason
    skipped_entries: list[tuple[str, str]] = field(default_factory=list)
    num_frames: int = 0  # frames annotated by this run
    seconds: float = 0.0  # duration of this run
    interrupted: bool = False  # whether Ctrl-C stopped the job
    num_superseded: int = 0  # removed results of other model versions
    # files of the archive without a video suffix, counted by their suffix
    other_files: dict[str, int] = field(default_factory=dict)

    def having(self, status: str) -> list[VideoRow]:
        """Returns the rows with the given status, sorted by video."""
        rows = [row for row in self.rows if row.status == status]
        return sorted(rows, key=lambda row: row.video)

    def describe(self) -> list[str]:
        """Returns the summary as readable lines."""
        lines = [
            f"{row.status}: {shown_name(row.video)}: {row.reason}"
            for status in ("failed", "quarantined")
            for row in self.having(status)
        ]
        lines += [
            f"{row.completeness}: {shown_name(row.video)}: {row.num_frames} frames could be read"
            for row in self.having("done")
            if row.completeness in ("truncated", "damaged")
        ]
        lines += self._table()
        lines += [f"left out: {line}" for line in describe_skipped(self.skipped_entries)]
        lines += [describe_other_files(self.other_files)] if self.other_files else []
        counts = (
            f"{len(self.rows)} videos: {len(self.having('done'))} done,"
            f" {len(self.having('failed'))} failed, {len(self.having('quarantined'))} quarantined"
        )
        if self.num_skipped:
            counts += f"; {self.num_skipped} of them by an earlier run"
        if self.num_pending:
            counts += f"; {self.num_pending} to do"
        if self.num_frames:
            counts += f"; {self.num_frames} frames in {in_words(self.seconds)}"
            played_s = sum(row.video_s for row in self.rows)
            if played_s and self.seconds:
                counts += f" ({played_s / self.seconds:.2f} x real time)"
        elif not self.num_pending and self.num_skipped == len(self.rows):
            counts += "; nothing to do"
        if self.num_superseded:
            counts += f"; {self.num_superseded} results of other versions removed"
        return [*lines, counts, f"results: {self.out}"]

    def _table(self) -> list[str]:
        """Returns a table of the number of videos per kind of outcome; empty for a single kind."""
        kinds = Counter(_outcome(row) for row in self.rows)
        if len(kinds) < 2:
            return []
        width = max(map(len, kinds))
        ranked = sorted(kinds.items(), key=lambda item: (item[0] != "done", -item[1], item[0]))
        return [f"  {kind:<{width}}  {count:>6}" for kind, count in ranked]


def _outcome(row: VideoRow) -> str:
    if row.status != "done":
        return f"{row.status}: {row.kind}" if row.kind else row.status
    if row.completeness in ("", "complete", "partial"):
        return "done"
    return f"done, {row.completeness}"


@dataclass
class PendingCounts:
    """A run's outcomes so far, for its progress line and status file."""

    summary: AnnotateSummary
    sizes: dict[str, int]  # bytes of each initially pending video, by key
    _ended: list[VideoRow] = field(default_factory=list)

    def add(self, row: VideoRow) -> None:
        """Adds a video's outcome."""
        self._ended.append(row)
        self.summary.rows.append(row)
        self.summary.num_frames += row.num_frames

    def counts(self, num_frames: int) -> JobCounts:
        """Returns the job's progress; ``num_frames`` comes from the workers."""
        statuses = Counter(row.status for row in self.summary.rows)
        bytes_done = sum(self.sizes[row.video] for row in self._ended)
        return JobCounts(
            done=statuses["done"],
            failed=statuses["failed"],
            quarantined=statuses["quarantined"],
            pending=len(self.sizes) - len(self._ended),
            num_frames=max(num_frames, self.summary.num_frames),
            num_videos=len(self._ended),
            video_s=sum(row.video_s for row in self._ended) or None,
            bytes_done=bytes_done,
            bytes_left=sum(self.sizes.values()) - bytes_done,
        )

    def in_words(self, num_frames: int) -> str:
        """Returns the text at the end of the progress line."""
        failed = sum(row.status != "done" for row in self._ended)
        return f"{max(num_frames, self.summary.num_frames)} frames, {failed} failed"
