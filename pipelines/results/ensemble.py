"""Fusion of results, which may be YouTube-VIS files, results of one video, or archives."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.results.ensemble_archive import FusedArchive, fuse_archives, fuse_documents
from pipelines.results.ensemble_files import fuse_files
from pipelines.storage.open import open_storage
from vis_core.config.inference import FusionConfig
from vis_core.errors import ConfigError
from vis_core.formats.json_stream import NotStreamableError, first_character


@dataclass(frozen=True)
class FusedFile:
    """A file of fused results."""

    out: Path
    num_tracks: int

    def describe(self) -> list[str]:
        """Returns the final lines for the user."""
        return [f"{self.num_tracks} tracks in {self.out}"]

    def to_json(self) -> dict[str, Any]:
        """Returns the outcome for programs."""
        return {"out": str(self.out), "tracks": self.num_tracks}


def fuse(inputs: Sequence[str], out: str, config: FusionConfig) -> FusedFile | FusedArchive:
    """Fuses results; the output has the same kind as the inputs.

    Raises:
        ConfigError: The output is an input, or its folder is missing.
        AnnotationError: An input is faulty.
    """
    if any("://" in name or Path(name).is_dir() for name in inputs):
        return fuse_archives([open_storage(name) for name in inputs], open_storage(out), config)
    files, target = [Path(name) for name in inputs], Path(out)
    if not target.parent.is_dir():
        raise ConfigError(f"--out: expected a folder {target.parent}, found none; make it first")
    if target.resolve() in {path.resolve() for path in files}:
        raise ConfigError(f"--out {target}: is one of the inputs; name another file")
    fuse_kind = fuse_documents if all(_is_object(path) for path in files) else fuse_files
    return FusedFile(target, fuse_kind(files, target, config))


def _is_object(path: Path) -> bool:
    """Returns whether a file is a JSON object, as written by ``annotate``, and not a list."""
    try:
        return first_character(path) == "{"
    except NotStreamableError:
        return False  # the reader of the file reports the error
