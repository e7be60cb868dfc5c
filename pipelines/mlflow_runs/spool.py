"""Writes that wait for a service: kept in a file, sent in order by a thread, retried."""

import json
import logging
import threading
from collections import deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from vis_core.errors import RegistryError

Entry = dict[str, Any]
_MOST_METRICS = 900  # in one request; MLflow refuses more than 1000
_FIRST_WAIT_S = 2.0
_LONGEST_WAIT_S = 60.0
_log = logging.getLogger(__name__)


class WriteSpool:
    """Keeps entries in a JSON-lines file until ``send`` has taken them.

    Args:
        path: The file. What an earlier process left in it is sent first.
        send: Takes entries of one kind, in order; raises RegistryError to be tried again later.
    """

    def __init__(self, path: Path, send: Callable[[list[Entry]], None]) -> None:
        self.path = path
        self._send = send
        self._waiting: deque[Entry] = deque(_entries_of(path))
        self._changed = threading.Condition()
        self._closing = False
        self._told = False
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def start(self) -> None:
        """Starts to send."""
        self._thread.start()

    def add(self, entry: Entry) -> None:
        """Keeps one entry and returns at once."""
        with self._changed:
            self._append(entry)
            self._waiting.append(entry)
            self._changed.notify_all()

    def close(self, wait_s: float) -> int:
        """Sends what is left for at most ``wait_s`` seconds; how many entries still wait."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(wait_s)
        with self._changed:
            if not self._waiting:
                self.path.unlink(missing_ok=True)
            return len(self._waiting)

    def _run(self) -> None:
        wait_s = _FIRST_WAIT_S
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting:
                    return
                batch, last_chance = self._first_batch(), self._closing
            try:
                self._send(batch)
            except RegistryError as error:
                self._tell(error)
                if last_chance:
                    return
                with self._changed:
                    if not self._closing:
                        self._changed.wait_for(lambda: self._closing, wait_s)
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
                continue
            wait_s = _FIRST_WAIT_S
            with self._changed:
                for _ in batch:
                    self._waiting.popleft()

    def _first_batch(self) -> list[Entry]:
        """Takes metrics together up to the limit of one request; all else one by one."""
        batch, size = [self._waiting[0]], len(self._waiting[0].get("values", ()))
        if batch[0]["kind"] == "metrics":
            for entry in islice(self._waiting, 1, None):
                size += len(entry.get("values", ()))
                if entry["kind"] != "metrics" or size > _MOST_METRICS:
                    break
                batch.append(entry)
        return batch

    def _append(self, entry: Entry) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            self._tell(error)  # a full disk must not stop a training; the entry is in memory

    def _tell(self, error: Exception) -> None:
        """Warns once, not at every step."""
        if not self._told:
            _log.warning(
                "tracking: %s; training goes on, metrics are kept in %s and sent later",
                error, self.path,
            )  # fmt: skip
            self._told = True


def _entries_of(path: Path) -> list[Entry]:
    """Reads what an earlier process left, without lines that a kill or a full disk cut short."""
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(entry, dict) and "kind" in entry:
            entries.append(entry)
    with path.open("a", encoding="utf-8") as file:
        file.write("\n")  # parts a cut last line from the next one
    return entries
