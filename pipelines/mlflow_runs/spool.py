"""A queue of writes to a service, kept in a file; a thread sends them in order, with retries."""

import json
import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from vis_core.errors import RegistryError

Entry = dict[str, Any]
_MAX_METRICS = 900  # per request; MLflow refuses more than 1000
_FIRST_WAIT_S = 2.0
_MAX_WAIT_S = 60.0
_log = logging.getLogger(__name__)


class WriteSpool:
    """A queue of entries, kept in a JSON-lines file until they are sent.

    The entries of an earlier process are sent first. ``send`` is called in order, with several
    metrics or one other entry; it raises RegistryError if a retry may help.
    """

    def __init__(self, path: Path, send: Callable[[list[Entry]], None]) -> None:
        self.path = path
        self._send = send
        self._waiting: deque[Entry] = deque(_entries_of(path))
        self._changed = threading.Condition()
        self._closing = False
        self._has_warned = False
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def start(self) -> None:
        """Starts the sending thread."""
        self._thread.start()

    def add(self, entry: Entry) -> None:
        """Queues one entry without waiting for the service."""
        with self._changed:
            self._append(entry)
            self._waiting.append(entry)
            self._changed.notify_all()

    def close(self, wait_s: float) -> int:
        """Keeps sending for at most ``wait_s`` seconds; returns the number of unsent entries."""
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
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                batch, last_chance = self._first_batch(), self._closing
            try:
                self._send(batch)
            except RegistryError as error:
                self._warn_once(error)
                if last_chance:
                    return
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, wait_s)
                wait_s = min(wait_s * 2, _MAX_WAIT_S)
                continue
            wait_s = _FIRST_WAIT_S
            with self._changed:
                for _ in batch:
                    self._waiting.popleft()

    def _first_batch(self) -> list[Entry]:
        """Returns the next entries to send: several metrics up to a limit, or one other entry."""
        batch, size = [self._waiting[0]], len(self._waiting[0].get("values", ()))
        if batch[0]["kind"] == "metrics":
            for entry in islice(self._waiting, 1, None):
                size += len(entry.get("values", ()))
                if entry["kind"] != "metrics" or size > _MAX_METRICS:
                    break
                batch.append(entry)
        return batch

    def _append(self, entry: Entry) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            self._warn_once(error)  # a full disk must not stop training; the entry is in memory

    def _warn_once(self, error: Exception) -> None:
        if not self._has_warned:
            _log.warning(
                "tracking: %s; training continues, metrics are kept in %s and sent later",
                error, self.path,
            )  # fmt: skip
            self._has_warned = True


def _entries_of(path: Path) -> list[Entry]:
    """Reads the entries of an earlier process; skips lines cut off by a kill or full disk."""
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        with suppress(json.JSONDecodeError):
            entry = json.loads(line)
            if isinstance(entry, dict) and "kind" in entry:
                entries.append(entry)
    with path.open("a", encoding="utf-8") as file:
        file.write("\n")  # separates a truncated last line from the next one
    return entries
