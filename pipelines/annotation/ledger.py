"""Video outcomes (done, failed or pending), derived from a listing of the results.

    results/<sha256>.json   a finished video without its masks (``annotation/video/result.py``)
    failed/<sha256>.json    a video that cannot be annotated, with the reason
    unfinished/<sha256>/    the state of an unfinished video (``annotation/video/resume.py``)

A result's name is a digest of the video (name and version), the model and the settings. So two
videos never share a result, a video name cannot point outside the folder, a new model does not
overwrite old results, and a repeated job finds its results. A result contains the video's name.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.annotation.archive.listing import ArchivedVideo
from pipelines.annotation.machine_errors import was_machine_error
from pipelines.annotation.options import Redo
from pipelines.storage.base import Storage, read_if_there

RESULTS, FAILED, UNFINISHED = "results/", "failed/", "unfinished/"
STATE = "state-"  # prefix of an unfinished video's state files
MANIFEST = "manifest.json"
Status = Literal["done", "failed", "quarantined"]


@dataclass(frozen=True)
class VideoRow:
    """The outcome of one video."""

    video: str  # key in the archive; not safe to print, see ``shown_name``
    status: Status  # annotated, unreadable, or quarantined after killing several workers
    reason: str = ""  # why the video is not done; empty if it is done
    result: str = ""  # key of the video's result or failure
    num_frames: int = 0  # frames annotated by this run
    # "complete", or the kind of loss (see ``DecodeReport``); empty if unknown
    completeness: str = ""
    kind: str = ""  # kind of failure, short enough for a table; empty if the video is done
    video_s: float = 0.0  # playing time of the frames annotated by this run


@dataclass(frozen=True)
class Survey:
    """The videos of an archive, grouped by outcome."""

    done: list[ArchivedVideo]
    failed: list[ArchivedVideo]  # videos with a recorded failure and no result
    pending: list[ArchivedVideo]


@dataclass(frozen=True)
class Ledger:
    """The outcomes of one model with one set of settings."""

    storage: Storage
    run_digest: str  # digest of the model and the settings

    def survey(self, videos: Sequence[ArchivedVideo]) -> Survey:
        """Groups videos by outcome, from a listing of the results."""
        done_keys = {entry.key for entry in self.storage.list(RESULTS)}
        failed_keys = {entry.key for entry in self.storage.list(FAILED)}
        survey = Survey([], [], [])
        for video in videos:
            if self.result_key(video) in done_keys:
                survey.done.append(video)
            elif self.failed_key(video) in failed_keys:
                survey.failed.append(video)
            else:
                survey.pending.append(video)
        return survey

    def result_key(self, video: ArchivedVideo) -> str:
        """Returns the key of a video's result."""
        return f"{RESULTS}{self.result_name(video)}.json"

    def failed_key(self, video: ArchivedVideo) -> str:
        """Returns the key of a video's failure record."""
        return f"{FAILED}{self.result_name(video)}.json"

    def result_name(self, video: ArchivedVideo) -> str:
        """Returns the sha256 of the video's key and version, the model and the settings."""
        return json_digest([video.key, video.version, self.run_digest])

    def is_done(self, video: ArchivedVideo) -> bool:
        """Returns whether a video has a result, perhaps from an attempt whose response was lost."""
        return self.storage.exists(self.result_key(video))

    def commit(self, video: ArchivedVideo, result: dict[str, Any]) -> bool:
        """Writes a video's result; returns whether exactly this content is stored."""
        return self.storage.write_once(self.result_key(video), json_bytes(result))

    def fail(self, video: ArchivedVideo, status: Status, reason: str, kind: str) -> VideoRow:
        """Records that a video cannot be annotated, with the reason and its kind."""
        row = VideoRow(video.key, status, reason, self.failed_key(video), kind=kind)
        body = {"video": video.key, "status": status, "kind": kind, "reason": reason}
        self.storage.write_once(row.result, json_bytes(body))
        return row

    def to_redo(self, survey: Survey, redo: Redo | None) -> list[ArchivedVideo]:
        """Returns the videos whose outcomes must be removed to annotate them again."""
        if redo is None or redo == "changed-model":
            return []
        if redo == "machine-errors":
            rows = ((video, self.failure(video)) for video in survey.failed)
            return [video for video, row in rows if was_machine_error(row.kind, row.reason)]
        return survey.failed + (survey.done if redo == "all" else [])

    def forget(self, video: ArchivedVideo) -> None:
        """Removes a video's outcome, so that it is pending again; deletes the masks last."""
        self.storage.delete(self.failed_key(video))
        masks = self.masks_of(video)
        clear_unfinished(self.storage, self.result_name(video))
        self.storage.delete(self.result_key(video))
        if masks is not None:
            self.storage.delete(str(masks["file"]))

    def clear_finished(self, survey: Survey) -> None:
        """Removes the intermediate state of every video that has an outcome."""
        names = {self.result_name(video) for video in survey.done + survey.failed}
        begun = {entry.key.split("/")[1] for entry in self.storage.list(UNFINISHED)}
        for name in sorted(names & begun):
            clear_unfinished(self.storage, name)

    def masks_of(self, video: ArchivedVideo) -> dict[str, Any] | None:
        """Reads the entry for the masks in a video's result; returns None if there is none."""
        body = read_if_there(self.storage, self.result_key(video))
        if body is None:
            return None
        try:
            masks = json.loads(body).get("masks")
        except (ValueError, AttributeError):
            return None
        return masks if isinstance(masks, dict) else None

    def failure(self, video: ArchivedVideo) -> VideoRow:
        """Reads a video's failure record."""
        key = self.failed_key(video)
        stored = json.loads(self.storage.read(key))
        kind = stored.get("kind", "unreadable")
        return VideoRow(video.key, stored["status"], stored["reason"], key, kind=kind)

    def write_manifest(self, about: dict[str, Any], rows: Iterable[VideoRow]) -> None:
        """Writes the outcomes of one command if they have changed; no command reads them."""
        videos = [
            {
                "video": row.video,
                "status": row.status,
                **({"kind": row.kind, "reason": row.reason} if row.reason else {}),
                "result": row.result,
            }
            for row in sorted(rows, key=lambda row: row.video)
        ]
        body = json_bytes({**about, "videos": videos})
        if read_if_there(self.storage, MANIFEST) != body:
            self.storage.replace(MANIFEST, body)


def clear_unfinished(storage: Storage, name: str) -> None:
    """Removes a video's intermediate state, state files first, since they list the parts."""
    keys = [entry.key for entry in storage.list(f"{UNFINISHED}{name}/")]
    for key in sorted(keys, key=lambda key: (f"/{STATE}" not in key, key)):
        storage.delete(key)


def json_digest(value: Any) -> str:
    """Returns the SHA-256 of a plain value's JSON, as ``json_bytes`` writes it."""
    return hashlib.sha256(json_bytes(value)).hexdigest()


def json_bytes(value: Any) -> bytes:
    """Returns a value as compact ASCII JSON, with the keys in their given order."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return (text + "\n").encode("ascii")
