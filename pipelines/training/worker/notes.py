"""Messages from training workers, one JSON line each, which the driver shows to the user.

In contrast, a worker's logs stay in Ray's files on its node.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path


def add_note(path: Path, text: str) -> None:
    """Appends a message."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"time": round(time.time(), 1), "text": text}) + "\n")


@dataclass(frozen=True)
class BadImages:
    """A log of the images that training leaves out, each of them once in a run."""

    path: Path  # file with one JSON line per image, which stays in the run folder
    notes: Path  # file for messages to the user

    def add(self, reason: str) -> None:
        """Adds an image; ``reason`` names it."""
        if self.path.is_file() and json.dumps(reason) in self.path.read_text(encoding="utf-8"):
            return
        add_note(self.path, reason)
        add_note(self.notes, f"an image is left out: {reason}")


class NoteReader:
    """A reader of messages added after its construction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.is_file() else 0

    def new(self) -> list[str]:
        """Returns the complete messages since the last call."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        complete = text[: text.rfind(b"\n") + 1]
        self._offset += len(complete)
        return [str(json.loads(line)["text"]) for line in complete.splitlines()]
