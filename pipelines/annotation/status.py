"""The file ``status.json`` with the progress of a running job, for users and other programs.

The file is only informative. A job continues if writing it fails, and no later run reads it.
Secrets in video names are masked, and storage addresses are omitted.
"""

import json
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from pipelines.annotation.ledger import json_bytes
from pipelines.progress import in_words
from pipelines.redaction import mask_secrets
from pipelines.storage.base import Storage, read_if_there
from pipelines.storage.open import open_storage
from vis_core.errors import ConfigError, StorageError, shown_name

STATUS = "status.json"
EVERY_S = 5.0  # seconds between writes; in a bucket, each write is a paid request
_LONGEST_WAIT_S = 300.0  # between two writes to a store that refuses them
_SILENT_S = 60.0  # age at which a running job's status triggers a warning
State = Literal["running", "finished", "stopped", "failed"]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobCounts:
    """The progress of a job; only the first four fields include earlier runs."""

    done: int = 0
    failed: int = 0  # videos that cannot be annotated
    quarantined: int = 0  # videos that killed several workers or decoders
    pending: int = 0
    num_frames: int = 0  # frames annotated by this run
    num_videos: int = 0  # videos that got an outcome in this run
    video_s: float | None = None  # playing time of this run's frames; None if unknown
    bytes_done: int = 0  # bytes of the videos that got an outcome in this run
    bytes_left: int = 0  # bytes of the pending videos
    frames_left: int | None = None  # frames of the pending videos; None if unknown

    def left_s(self, elapsed_s: float) -> float | None:
        """Estimates the seconds left from frames or bytes per second; None if unknown."""
        if self.pending == 0:
            return 0.0
        if self.frames_left is not None:
            return self.frames_left * elapsed_s / self.num_frames if self.num_frames else None
        return self.bytes_left * elapsed_s / self.bytes_done if self.bytes_done else None


@dataclass(frozen=True)
class WorkerStatus:
    """The activity of one worker."""

    video: str = ""  # the worker's videos, on one line; empty while the model is loading
    frame: int = 0  # annotated frames of these videos


@dataclass
class JobStatus:
    """A writer of a job's status, which writes at most every few seconds and always at the end.

    As a context manager it records how its block ended: finished, stopped by Ctrl-C, or failed.
    """

    storage: Storage
    # additional plain, non-secret values to write, such as the model's name
    about: Mapping[str, Any] = field(default_factory=dict)
    clock: Callable[[], float] = time.time  # seconds since 1970
    every_s: float = EVERY_S  # minimum seconds between two writes

    def __post_init__(self) -> None:
        self._start_s = self.clock()
        self._counts = JobCounts()
        self._workers: Sequence[WorkerStatus] = ()
        self._next_s = self._start_s
        self._wait_s = self.every_s
        self._has_warned = self._has_begun = self._has_ended = False

    def update(self, counts: JobCounts, workers: Sequence[WorkerStatus] = ()) -> None:
        """Records the progress and writes it if the last write is old enough."""
        self._counts, self._workers, self._has_begun = counts, workers, True
        now_s = self.clock()
        # a clock that was set back must not stop the updates
        if now_s >= self._next_s or now_s < self._next_s - self._wait_s:
            self._write("running", "", now_s)

    def end(self, state: State, reason: str = "") -> None:
        """Writes the final state at once, without workers, unless the job failed at its start."""
        if state == "failed" and not self._has_begun:
            return
        self._workers, self._has_ended = (), True
        self._write(state, reason, self.clock())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, *_: object) -> None:
        if self._has_ended:
            return
        if kind is None:
            self.end("finished")
        elif issubclass(kind, KeyboardInterrupt):
            self.end("stopped")
        else:
            lines = str(error).strip().splitlines() or [""]
            self.end("failed", f"{kind.__name__}: {lines[0][:300]}")

    def document(self, state: State, reason: str, now_s: float) -> dict[str, Any]:
        """Returns the content of ``status.json``; ``reason`` explains a failure."""
        counts, elapsed_s = self._counts, max(0.0, now_s - self._start_s)
        per_s = 1 / elapsed_s if elapsed_s > 0 else 0.0
        left_s = counts.left_s(elapsed_s) if state == "running" else None
        return {
            **self.about,
            "state": state,
            "reason": mask_secrets(shown_name(reason)),
            "started": _iso(self._start_s),
            "updated": _iso(now_s),
            "host": socket.gethostname(),
            "process_id": os.getpid(),
            **asdict(counts),
            "elapsed_s": round(elapsed_s, 3),
            "frames_per_s": round(counts.num_frames * per_s, 3),
            "videos_per_s": round(counts.num_videos * per_s, 5),
            "times_real_time": None if counts.video_s is None else round(counts.video_s * per_s, 3),
            "left_s": None if left_s is None else round(left_s),
            "workers": [
                {"video": mask_secrets(shown_name(worker.video)), "frame": worker.frame}
                for worker in self._workers
            ],
        }

    def _write(self, state: State, reason: str, now_s: float) -> None:
        """Replaces the file; after each refused write, doubles the wait before the next one."""
        try:
            self.storage.replace(STATUS, json_bytes(self.document(state, reason, now_s)))
            self._wait_s = self.every_s
        except StorageError as error:
            self._wait_s = min(2 * self._wait_s, max(_LONGEST_WAIT_S, self.every_s))
            if not self._has_warned:
                _log.warning("%s cannot be written; the job continues: %s", STATUS, error)
            self._has_warned = True
        self._next_s = self.clock() + self._wait_s


def read_status(out: Path | str) -> dict[str, Any]:
    """Reads a job's status.

    Raises:
        ConfigError: There is no status file, or it is not valid.
        StorageError: The storage cannot be reached.
    """
    storage = open_storage(out)
    mend = "give the --out of a `longtake annotate` that has started"
    body = read_if_there(storage, STATUS)
    if body is None:
        raise ConfigError(f"{shown_name(storage.uri)}: expected {STATUS}, found none; {mend}")
    try:
        document = dict(json.loads(body))
        describe(document, now_s=0.0)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ConfigError(
            f"{shown_name(storage.uri)}/{STATUS}: not the status of a job; {mend}"
        ) from error
    return document


def describe(document: Mapping[str, Any], now_s: float) -> list[str]:
    """Formats a status as readable lines; warns if a running job's status is old at ``now_s``."""
    counts = JobCounts(**{each.name: document[each.name] for each in fields(JobCounts)})
    ended = counts.done + counts.failed + counts.quarantined
    speed = f"{document['frames_per_s']:.2f} frames/s"
    if document["times_real_time"] is not None:
        speed += f", {document['times_real_time']:.2f} x real time"
    lines = [
        f"{document['state']}: {ended} of {ended + counts.pending} videos"
        f" ({counts.done} done, {counts.failed} failed, {counts.quarantined} quarantined),"
        f" {counts.pending} pending",
        f"{counts.num_frames} frames in {in_words(document['elapsed_s'])} ({speed})",
    ]
    if document["reason"]:
        lines.append(f"reason: {document['reason']}")
    if document["left_s"] is not None:
        lines.append(f"time left: {in_words(document['left_s'])}")
    for number, worker in enumerate(document["workers"], start=1):
        place = f"{worker['video']}, frame {worker['frame']}"
        lines.append(f"worker {number}: {place if worker['video'] else 'loading the model'}")
    silent_s = now_s - datetime.fromisoformat(document["updated"]).timestamp()
    if document["state"] == "running" and silent_s > _SILENT_S:
        lines.append(
            f"warning: not updated for {in_words(silent_s)}, expected every {in_words(EVERY_S)}; "
            f"check whether process {document['process_id']} on {document['host']} still runs"
        )
    return [shown_name(line) for line in lines]


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
