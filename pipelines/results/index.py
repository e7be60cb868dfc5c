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
_SHOWN_DIGEST = 12  # characters of a digest
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

    @property
    def num_same_names(self) -> int:
        """The number of results beyond the first of each video name."""
        return len(self.keys) - len({name for name, _ in self.keys})


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
            count = 1 + len(self.left_out)
            lines.append(f"{self.uri}: results of {count} models or settings; see --params-hash")
            lines.append(f"  used: {_describe(self.group, self.left_out)}")
            lines += [f"  left out: {_describe(each, [self.group])}" for each in self.left_out]
        if count := self.group.num_same_names:
            lines.append(
                f"{self.uri}: {count} more results than video names; a video has changed, or two"
                " videos have one name"
            )
        return lines

    def to_json(self) -> dict[str, Any]:
        """Returns the choice for programs."""
        return {
            "params_hash": self.group.params_hash,
            "left_out": {each.params_hash: len(each.keys) for each in self.left_out},
        }


def choose_results(storages: Sequence[Storage], hashes: Sequence[str] = ()) -> list[ChosenResults]:
    """Reads which results each folder holds, and chooses one model and settings in each.

    A folder's group is the one whose digest begins with one of ``hashes``, else the group with the
    newest result.

    Raises:
        ConfigError: A folder holds no result, or several fit; or a hash fits nothing.
        StorageError: A store cannot be reached.
    """
    found = [_groups(storage) for storage in storages]
    for text in hashes:
        if not any(group.params_hash.startswith(text) for groups in found for group in groups):
            known = ", ".join(_short(group) for groups in found for group in groups)
            raise ConfigError(f"--params-hash {shown_name(text)}: found only {known}")
    return [
        _choose(storage.uri, groups, tuple(hashes))
        for storage, groups in zip(storages, found, strict=True)
    ]


def _choose(uri: str, groups: list[ResultGroup], hashes: tuple[str, ...]) -> ChosenResults:
    fitting = [group for group in groups if group.params_hash.startswith(hashes)] if hashes else []
    if len(fitting) > 1:
        names = ", ".join(map(_short, fitting))
        raise ConfigError(f"{uri}: --params-hash fits {names}; expected one of them")
    # newest first; on a tie the larger group
    groups.sort(key=lambda group: (group.newest_s, len(group.keys), group.params_hash))
    chosen = fitting[0] if fitting else groups[-1]
    return ChosenResults(uri, chosen, [each for each in groups if each is not chosen])


def _groups(storage: Storage) -> list[ResultGroup]:
    groups: dict[str, ResultGroup] = {}
    damaged = []
    for entry, info in _read_infos(storage):
        try:
            params_hash = _params_hash(info)
            video = (str(info["video"]), str(info.get("video_version")))
        except (KeyError, TypeError):
            damaged.append((entry.key, "not a result; passed over"))
            continue
        if params_hash not in groups:
            groups[params_hash] = ResultGroup(params_hash, _about(info))
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
            for entry, body in zip(
                page,
                threads.map(partial(read_if_there, storage), [e.key for e in page]),
                strict=True,
            ):
                if body is not None:  # None: another command has removed it
                    yield entry, _info(body)
            progress.update(len(page))


def _info(body: bytes) -> Any:
    """Reads ``info``, which stands first in a result; the tracks after it are not parsed."""
    try:
        text = body.decode()
        start = _INFO.match(text)
        if start is not None:
            return json.JSONDecoder().raw_decode(text, start.end())[0]
        return json.loads(text)["info"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _params_hash(info: dict[str, Any]) -> str:
    """Returns the digest of model and settings; of a fused result, of all it was fused from."""
    if "fused" in info:
        return json_digest([sorted(map(_params_hash, info["fused"])), info["fusion"]])
    if "params_hash" in info:
        return str(info["params_hash"])
    names = ("model", "model_version", "model_digest", "settings", "max_frames")
    return json_digest([info.get(name) for name in names])


def _about(info: dict[str, Any]) -> dict[str, Any]:
    models = [
        f"{each.get('model')} {each.get('model_version') or ''}".strip()
        for each in info.get("fused", [info])
    ]
    settings = info.get("fusion") or info.get("settings") or {}
    flat = _flat({"max_frames": info.get("max_frames"), **settings})
    return {"model": " + ".join(sorted(models)), "digest": info.get("model_digest"), **dict(flat)}


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _describe(group: ResultGroup, others: Sequence[ResultGroup]) -> str:
    """Returns a group's digest, model, number of results, date, and settings unlike the others'."""
    names = [
        name
        for name, value in group.about.items()
        if any(each.about.get(name) != value for each in others)
    ]
    unlike = [f"{name} {group.about[name]}" for name in names if name != "model"][:4]
    date = datetime.fromtimestamp(group.newest_s, UTC).isoformat(timespec="seconds")
    counts = f"{len(group.keys)} results, the newest of {date}"
    return shown_name(", ".join([f"{_short(group)} {group.about['model']}", counts, *unlike]))


def _short(group: ResultGroup) -> str:
    return group.params_hash[:_SHOWN_DIGEST]
