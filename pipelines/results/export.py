"""Writes the results of an archive as YouTube-VIS files, one per video."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pipelines.progress import Progress
from pipelines.results.index import ChosenResults, choose_results
from pipelines.results.youtube_vis import read_result_json
from pipelines.storage.base import Storage
from vis_core.errors import ConfigError
from vis_core.files import write_json


@dataclass(frozen=True)
class ExportedResults:
    """The outcome of an export."""

    folder: Path
    num_written: int  # files that this run wrote
    num_there: int  # files that existed already
    chosen: ChosenResults

    def describe(self) -> list[str]:
        """Returns the final lines for the user."""
        there = f"; {self.num_there} were there" if self.num_there else ""
        counts = f"{self.num_written} YouTube-VIS files written{there}: {self.folder}"
        return [*self.chosen.describe(), counts]

    def to_json(self) -> dict[str, Any]:
        """Returns the outcome for programs."""
        counts = {"written": self.num_written, "found": self.num_there}
        return {"folder": str(self.folder), **counts, **self.chosen.to_json()}


def export_results(
    results: Storage, folder: Path, globs: Sequence[str] = (), params_hashes: Sequence[str] = ()
) -> ExportedResults:
    """Writes one YouTube-VIS file per video, one at a time in memory; keeps existing files.

    Each file is named after a digest of video, model and settings, so that no video name can point
    outside the folder; the file contains this name. Only names that match ``globs`` are exported.
    ``params_hashes`` choose the model and settings, see ``choose_results``.

    Raises:
        ConfigError: No result matches, or the choice fits none.
        AnnotationError: A result is damaged.
    """
    (chosen,) = choose_results([results], params_hashes)
    done = chosen.group.keys
    patterns = globs or ("*",)
    wanted = {key for (name, _), key in done.items() if any(fnmatchcase(name, p) for p in patterns)}
    if not wanted:
        raise ConfigError(f"{results.uri}: {len(done)} results, none of them wanted; see --glob")
    folder.mkdir(parents=True, exist_ok=True)
    paths = {key: folder / Path(key).name for key in sorted(wanted)}
    todo = {key: path for key, path in paths.items() if not path.is_file()}
    with Progress(len(todo), "videos", "export") as progress:
        for key, path in todo.items():
            with results.as_file(key) as local:
                write_json(path, read_result_json(local, results.as_file))
            progress.update(1)
    return ExportedResults(folder, len(todo), len(paths) - len(todo), chosen)
