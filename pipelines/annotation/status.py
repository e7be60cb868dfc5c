"""Keeps ``status.json`` of a running job up to date, for people and programs that look from afar.

It is told what the driver counts, and decides nothing: a job runs on if it cannot be written, and
no later run reads it. Names of videos are masked, addresses of storages are left out.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self

from pipelines.annotation.ledger import json_bytes
from pipelines.progress import in_words
from pipelines.redaction import mask_secrets
from pipelines.storage.base import Storage
from vis_core.errors import StorageError, shown_name

STATUS = "status.json"
EVERY_S = 5.0  # of a bucket each is one paid request
_LONGEST_WAIT_S = 300.0  # between two tries at a storage that refuses
_SILENT_S = 60.0  # without news of a running job before that is said
State = Literal["running", "finished", "stopped", "failed"]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobCounts:
    """Is how far a job is; what earlier runs did is in the first four alone.

    Attributes:
        done: Videos with a result.
        failed: Videos that cannot be annotated.
        quarantined: Videos that were given up.
        pending: Videos without an outcome.
        num_frames: Frames annotated by this run.
        num_videos: Videos that got an outcome in this run.
        video_s: Seconds that the frames of this run play; None if that is not known.
        bytes_done: Of the videos that got an outcome in this run.
        bytes_left: Of the videos that are pending.
        frames_left: Of the videos that are pending; None if that is not known.
    """

    done: int = 0
    failed: int = 0
    quarantined: int = 0
    pending: int = 0
    num_frames: int = 0
    num_videos: int = 0
    video_s: float | None = None
    bytes_done: int = 0
    bytes_left: int = 0
    frames_left: int | None = None

    def left_s(self, elapsed_s: float) -> float | None:
        """Seconds to go at the speed so far: by frames, else by bytes; None before there is any."""
        if self.pending == 0:
            return 0.0
        if self.frames_left is not None:
            return self.frames_left * elapsed_s / self.num_frames if self.num_frames else None
        return self.bytes_left * elapsed_s / self.bytes_done if self.bytes_done else None


@dataclass(frozen=True)
class WorkerStatus:
    """Is what one worker does.

    Attributes:
        video: Key of its video, shown on one line; empty while it loads the model.
        frame: Frames of it that are annotated.
    """

    video: str = ""
    frame: int = 0


@dataclass
class JobStatus:
    """Writes the state of a job, at most every few seconds, and the last one always.

    As a context it ends as its block does: finished, stopped by Ctrl-C, or failed.

    Attributes:
        storage: Where the results are.
        about: What else is written: plain values that are no secret, such as the model's name.
        clock: Gives seconds since 1970.
        every_s: Seconds between two states.
    """

    storage: Storage
    about: Mapping[str, Any] = field(default_factory=dict)
    clock: Callable[[], float] = time.time
    every_s: float = EVERY_S

    def __post_init__(self) -> None:
        self._start_s = self.clock()
        self._counts = JobCounts()
        self._workers: Sequence[WorkerStatus] = ()
        self._next_s = self._start_s
        self._wait_s = self.every_s
        self._is_refused = False
        self._has_begun = self._has_ended = False

    def update(self, counts: JobCounts, workers: Sequence[WorkerStatus] = ()) -> None:
        """Takes note of how far the job is, and writes it if it is time to.

        Args:
            counts: All so far.
            workers: One for each, in an order that stays.
        """
        self._counts, self._workers, self._has_begun = counts, workers, True
        now_s = self.clock()
        # a clock that was set back must not keep the status silent
        if now_s >= self._next_s or now_s < self._next_s - self._wait_s:
            self._write("running", "", now_s)

    def end(self, state: State, reason: str = "") -> None:
        """Writes the last state, whenever that is; the workers are gone.

        A job that failed before it began leaves nothing.
        """
        if state == "failed" and not self._has_begun:
            return
        self._workers, self._has_ended = (), True
        self._write(state, reason, self.clock())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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
        """Lays a state out as it is written.

        Args:
            state: Of the job.
            reason: Why it is not going on; empty if it is.
            now_s: Seconds since 1970.
        """
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
        """Replaces the file; a storage that refuses is tried again ever more seldom."""
        try:
            self.storage.replace(STATUS, json_bytes(self.document(state, reason, now_s)))
            self._wait_s = self.every_s
        except StorageError as error:
            self._wait_s = min(2 * self._wait_s, max(_LONGEST_WAIT_S, self.every_s))
            if not self._is_refused:
                _log.warning("%s is not kept; the job goes on: %s", STATUS, error)
            self._is_refused = True
        self._next_s = self.clock() + self._wait_s


def status_line(document: Mapping[str, Any], now_s: float) -> str:
    """Writes a state on one line, as the progress of a step is shown.

    Args:
        document: What ``status.json`` holds.
        now_s: Seconds since 1970, which tell a job that runs from one that fell silent.
    """
    ended = document["done"] + document["failed"] + document["quarantined"]
    parts = [f"{document['state']} {ended}/{ended + document['pending']} videos"]
    bad = [f"{document[name]} {name}" for name in ("failed", "quarantined") if document[name]]
    parts += [", ".join(bad)] if bad else []
    parts += [f"{document['num_frames']} frames", f"{document['frames_per_s']:.2f} frames/s"]
    if document["times_real_time"] is not None:
        parts.append(f"{document['times_real_time']:.2f} x real time")
    if document["state"] != "running":
        parts.append(f"took {in_words(document['elapsed_s'])}")
        return "  ".join([*parts, document["reason"]] if document["reason"] else parts)
    if document["left_s"] is not None:
        parts.append(f"left {in_words(document['left_s'])}")
    silent_s = now_s - datetime.fromisoformat(document["updated"]).timestamp()
    if silent_s > _SILENT_S:
        parts.append(
            f"no news for {in_words(silent_s)}: is process {document['process_id']} of "
            f"{document['host']} alive?"
        )
    return "  ".join(parts)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
