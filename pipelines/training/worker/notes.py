"""Words that the workers of a training leave for the person who waits: one JSON line each.

What a worker logs stays in files of Ray on its node; these lines the driver shows.
"""

import json
import time
from pathlib import Path


def add_note(path: Path, text: str) -> None:
    """Appends a note."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"time": round(time.time(), 1), "text": text}) + "\n")


class NoteReader:
    """Reads what was added since it was made, each note once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = path.stat().st_size if path.is_file() else 0

    def new(self) -> list[str]:
        """Gives the notes that are whole and were not given yet."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as file:
            file.seek(self._place)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._place += len(whole)
        return [str(json.loads(line)["text"]) for line in whole.splitlines()]
