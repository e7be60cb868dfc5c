"""Training checkpoints in a folder or on S3; incomplete ones are ignored.

    step-00000050/weights.safetensors, …    any files that a worker saves
    step-00000050/manifest.json             their sizes and digests, written last

A killed process leaves at most files without a manifest, which are ignored. At least two
checkpoints are kept, so that one remains if another is damaged and skipped with a warning.
"""

import json
import logging
import os
import re
import shutil
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines.storage.base import Storage
from pipelines.storage.local import process_is_gone
from vis_core.files import file_sha256

MANIFEST = "manifest.json"
_STEP = re.compile(r"step-(\d{8})/(.+)")
_SNAPSHOTS = Path(tempfile.gettempdir()) / "longtake-snapshots"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckpointStore:
    """The ``keep`` newest checkpoints of one stage, in a storage that no other stage uses."""

    storage: Storage
    keep: int = 2

    def steps(self) -> list[int]:
        """Returns the steps of the complete checkpoints, in order."""
        return [step for step, names in self._files().items() if MANIFEST in names]

    def save(self, step: int, folder: Path) -> None:
        """Stores a folder's files as the checkpoint of a step, then removes old checkpoints.

        Raises StorageError if the storage failed; earlier checkpoints are kept.
        """
        prefix = _prefix(step)
        # invalidates a damaged or incomplete checkpoint of the same step
        self.storage.delete(prefix + MANIFEST)
        entries = {}
        for path in sorted(folder.iterdir()):
            entries[path.name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
            self.storage.replace_file(prefix + path.name, path)
        manifest = json.dumps({"step": step, "files": entries}, indent=2) + "\n"
        self.storage.replace(prefix + MANIFEST, manifest.encode())
        self.prune()

    def prune(self) -> None:
        """Removes all but the ``keep`` newest complete checkpoints and later incomplete ones."""
        files = self._files()
        complete = [step for step, names in files.items() if MANIFEST in names]
        for step, names in files.items():
            if complete and step < complete[-1] and step not in complete[-self.keep :]:
                self._remove(step, names)

    def remove(self) -> None:
        """Removes all checkpoints."""
        for step, names in self._files().items():
            self._remove(step, names)

    @contextmanager
    def newest(self, warn: Callable[[str], object]) -> Iterator[tuple[int, Path] | None]:
        """Provides the step and a temporary local copy of the newest intact checkpoint.

        Yields None if no checkpoint is intact. ``warn`` receives a message per damaged checkpoint.
        """
        with tempfile.TemporaryDirectory(prefix="longtake-") as folder:
            for step, names in reversed(self._files().items()):
                copy = Path(folder) / str(step)
                fault = self._fetch(step, names, copy)
                if not fault:
                    yield step, copy
                    return
                shutil.rmtree(copy)
                warn(f"the checkpoint of step {step} is skipped: {fault}")
            yield None

    def _fetch(self, step: int, names: list[str], copy: Path) -> str:
        """Copies a checkpoint; returns its defect, or an empty string if it is intact."""
        copy.mkdir(parents=True)
        if MANIFEST not in names:
            return "it is incomplete"
        try:
            stated = json.loads(self.storage.read(_prefix(step) + MANIFEST))["files"]
            wanted = {str(name): (int(e["bytes"]), str(e["sha256"])) for name, e in stated.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return f"{MANIFEST} is damaged"
        for name, (size, digest) in wanted.items():
            if name not in names:
                return f"{name} is missing"
            with self.storage.as_file(_prefix(step) + name) as file:
                shutil.copyfile(file, copy / name)
            found = (copy / name).stat().st_size
            if found != size:
                return f"{name} has {found:,} bytes, expected {size:,}"
            if file_sha256(copy / name) != digest:
                return f"{name} has changed since it was written (sha256 differs)"
        return ""

    def _files(self) -> dict[int, list[str]]:
        """Returns the names of each step's files, in step order."""
        files: dict[int, list[str]] = {}
        for entry in self.storage.list():
            match = _STEP.fullmatch(entry.key)
            if match:
                files.setdefault(int(match[1]), []).append(match[2])
        return dict(sorted(files.items()))

    def _remove(self, step: int, names: list[str]) -> None:
        # manifest first, so that a kill in between leaves only files that are ignored
        for name in sorted(names, key=lambda name: name != MANIFEST):
            self.storage.delete(_prefix(step) + name)


class CheckpointWriter:
    """A thread that stores checkpoints in parallel with training, one at a time."""

    def __init__(self, store: CheckpointStore) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        _remove_stale_snapshots()
        store.prune()  # a killed process may have left old checkpoints

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Waits for the previous snapshot to be stored, writes a new one and starts storing it.

        Raises StorageError if the previous snapshot could not be stored.
        """
        self.wait()
        folder = _SNAPSHOTS / f"{socket.gethostname()}@{os.getpid()}-{uuid.uuid4().hex}"
        folder.mkdir(parents=True)
        write(folder)
        self._pending = self._thread.submit(self._store_snapshot, step, folder)

    def wait(self) -> None:
        """Waits until the last snapshot is stored; raises a StorageError if storing it failed."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _store_snapshot(self, step: int, folder: Path) -> None:
        try:
            self._store.save(step, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_stale_snapshots() -> None:
    """Removes snapshots that killed processes left on this machine."""
    for folder in _SNAPSHOTS.glob(f"{socket.gethostname()}@*"):
        process_id = folder.name.rpartition("@")[2].partition("-")[0]
        if process_id.isdigit() and process_is_gone(int(process_id)):
            shutil.rmtree(folder, ignore_errors=True)


def _prefix(step: int) -> str:
    return f"step-{step:08d}/"
