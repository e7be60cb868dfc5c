"""The results in an output folder, read one by one and grouped by model and settings.

Several commands may write into one folder, and ``manifest.json`` lists only the last one's videos.
"""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any

from pipelines.annotation.archive.passed_over import describe_skipped
from pipelines.annotation.ledger import RESULTS, json_digest
from pipelines.progress import Progress
from pipelines.storage.base import Storage, StoredObject, read_if_there
from vis_core.errors import ConfigError, shown_name

_PAGE = 1000  # results read before the next ones are listed
_READERS = 16  # concurrent requests
_INFO = re.compile(r'\s*\{\s*"info"\s*:\s*')
_log = logging.getLogger(__name__)


@dataclass
class ResultGroup:
    """The results of one model with one set of settings."""

    params_hash: str  # digest of model and settings
    about: dict[str, Any]  # the model and the settings, by dotted name
    newest_s: float = 0.0  # when the newest result was written, in seconds since 1970
    # key of each result, by the video's name and version
    keys: dict[tuple[str, str], str] = field(default_factory=dict)

    def describe(self, others: Sequence["ResultGroup"]) -> str:
        """Returns one line: digest, number, date, and what differs from the other groups."""
        date = datetime.fromtimestamp(self.newest_s, UTC).isoformat(timespec="seconds")
        unlike = [
            f"{name} {value}"
            for name, value in self.about.items()
            if name == "model" or any(each.about.get(name) != value for each in others)
        ]
        counts = f"{self.params_hash[:12]}, {len(self.keys)} results until {date}"
        return shown_name(", ".join([counts, *unlike[:5]]))


@dataclass(frozen=True)
class ChosenResults:
    """The group of results that a command uses, and the other groups of the same folder."""

    uri: str
    group: ResultGroup
    left_out: list[ResultGroup]

    def describe(self) -> list[str]:
        """Returns lines about the choice, and about names with several results; often none."""
        lines = []
        if self.left_out:
            lines += [f"{self.uri}: several models or settings; choose with --params-hash"]
            lines += [f"  used: {self.group.describe(self.left_out)}"]
            lines += [f"  left out: {each.describe([self.group])}" for each in self.left_out]
        if several := len(self.group.keys) - len({name for name, _ in self.group.keys}):
            reason = "a video has changed, or two videos have one name"
            lines += [f"{self.uri}: {several} more results than video names; {reason}"]
        return lines

    def to_json(self) -> dict[str, Any]:
        """Returns the choice for programs."""
        left_out = {each.params_hash: len(each.keys) for each in self.left_out}
        return {"params_hash": self.group.params_hash, "left_out": left_out}


def choose_results(storages: Sequence[Storage], hashes: Sequence[str] = ()) -> list[ChosenResults]:
    """Reads which results each folder holds, and chooses one model and settings in each.

    A folder's group is the one whose digest begins with one of ``hashes``, else the group with the
    newest result.

    Raises:
        ConfigError: A folder holds no result, or several groups fit; or a hash fits no group.
        StorageError: A store cannot be reached.
    """
    found = [_groups(storage) for storage in storages]
    known = [group.params_hash for groups in found for group in groups]
    for text in hashes:
        if not any(each.startswith(text) for each in known):
            names = ", ".join(each[:12] for each in known)
            raise ConfigError(f"--params-hash {shown_name(text)}: expected one of {names}")
    chosen = []
    for storage, groups in zip(storages, found, strict=True):
        fitting = [each for each in groups if each.params_hash.startswith(tuple(hashes))]
        if hashes and len(fitting) > 1:
            names = ", ".join(each.params_hash[:12] for each in fitting)
            raise ConfigError(f"{storage.uri}: --params-hash fits {names}; expected one of them")
        # on a tie, the larger group
        best = max(fitting or groups, key=lambda each: (each.newest_s, len(each.keys)))
        rest = [each for each in groups if each is not best]
        chosen.append(ChosenResults(storage.uri, best, rest))
    return chosen


def _groups(storage: Storage) -> list[ResultGroup]:
    groups: dict[str, ResultGroup] = {}
    damaged = []
    for entry, info in _read_infos(storage):
        try:
            params_hash = _params_hash(info)
            video = (str(info["video"]), str(info.get("video_version")))
            if params_hash not in groups:
                groups[params_hash] = ResultGroup(params_hash, _about(info))
        except (LookupError, TypeError, AttributeError):
            damaged.append((entry.key, "not a result; passed over"))
            continue
        group = groups[params_hash]
        group.keys[video] = entry.key
        group.newest_s = max(group.newest_s, entry.modified_s)
    for line in describe_skipped(damaged):
        _log.warning("%s/%s", storage.uri, line)
    if not groups:
        mend = "give the --out of a `longtake annotate` that has finished a video"
        raise ConfigError(f"{shown_name(storage.uri)}: no result in {RESULTS}; {mend}")
    return list(groups.values())


def _read_infos(storage: Storage) -> Iterator[tuple[StoredObject, Any]]:
    """Yields each result's entry and its ``info``, which is None if the file is not a result."""
    entries = (entry for entry in storage.list(RESULTS) if entry.key.endswith(".json"))
    with ThreadPoolExecutor(_READERS) as threads, Progress(None, "results", "read") as progress:
        while page := list(islice(entries, _PAGE)):
            bodies = threads.map(partial(read_if_there, storage), [entry.key for entry in page])
            for entry, body in zip(page, bodies, strict=True):
                if body is not None:  # None: another command has removed it
                    yield entry, _info(body)
            progress.update(len(page))


def _info(body: bytes) -> Any:
    """Reads ``info``, which stands first in a result; the tracks after it are not parsed."""
    try:
        text = body.decode()
        if start := _INFO.match(text):
            return json.JSONDecoder().raw_decode(text, start.end())[0]
        return json.loads(text)["info"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def _params_hash(info: dict[str, Any]) -> str:
    """Returns the digest of model and settings; of a fused result, of all it was fused from."""
    if "fused" in info:
        return json_digest([sorted(map(_params_hash, info["fused"])), info["fusion"]])
    return str(info.get("params_hash") or json_digest([info["model"], info.get("settings")]))


def _about(info: dict[str, Any]) -> dict[str, Any]:
    names = [
        f"{each.get('model')} {each.get('model_version')}" for each in info.get("fused", [info])
    ]
    about = {"model": " + ".join(names), "model_digest": str(info.get("model_digest"))[:12]}
    settings = {"max_frames": info.get("max_frames"), "fusion": info.get("fusion")}
    todo = [*settings.items(), *info.get("settings", {}).items()]
    for name, value in todo:
        if isinstance(value, dict):
            todo += [(f"{name}.{part}", each) for part, each in value.items()]
        else:
            about[name] = value
    return about
