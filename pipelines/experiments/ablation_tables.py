"""The papers' ablation tables, read from ``ablation_tables.yaml`` without slow imports."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from pipelines.config.strict_yaml import read_yaml_mapping
from vis_core.errors import ConfigError

Overrides = tuple[str, ...]

# Changes to these settings need no training.
_INFERENCE = ("system.association", "system.selection", "inference")


@dataclass(frozen=True)
class AblationRow:
    """One row of a table, as ``dotted.key=value`` changes to a run file."""

    name: str  # as in the paper
    run_file: str  # a preset or a path
    training: Overrides = ()  # rows with an equal run file and equal changes share a model
    inference: Overrides = ()  # changes that keep the weights
    fused: tuple[str, ...] = ()  # earlier rows whose results are fused; such a row trains nothing

    @property
    def changes(self) -> Overrides:
        """All changes, or the names of the fused rows."""
        return self.training + self.inference + self.fused


@dataclass(frozen=True)
class AblationTable:
    """A paper's table, with its rows in the paper's order."""

    title: str  # paper, number and subject
    run_file: str  # the preset or path that most rows change
    rows: tuple[AblationRow, ...]
    shared: Overrides = ()  # changes to all rows, such as scenes like the paper's data set
    note: str = ""  # differences from the paper's table


def ablation_table(name: str, recipe: str | None = None) -> AblationTable:
    """Returns a table whose rows change its preset, or the run file ``recipe`` instead.

    Raises:
        ConfigError: A row's run file cannot be derived from the name of ``recipe``.
    """
    table = _VALUES[name]
    run_file = recipe or table["run_file"]
    return AblationTable(
        table["title"],
        run_file,
        tuple(
            _row(row, run_file, _changes(changes, recipe)) for row, changes in table["rows"].items()
        ),
        _overrides(_changes(table.get("shared", {}), recipe)),
        table.get("note", ""),
    )


def _changes(changes: Mapping[str, Any], recipe: str | None) -> Mapping[str, Any]:
    """Returns the changes for a recipe or for the preset."""
    return changes.get("recipe", changes) if recipe else changes


def _row(name: str, run_file: str, changes: Mapping[str, Any]) -> AblationRow:
    kept = {key: value for key, value in changes.items() if key.startswith(_INFERENCE)}
    trained = {key: value for key, value in changes.items() if key not in kept}
    run_file = _run_file(name, run_file, changes.get("run_file", {}))
    fused = tuple(changes.get("fused", ()))
    return AblationRow(name, run_file, _overrides(trained), _overrides(kept), fused)


def _run_file(row: str, run_file: str, words: Mapping[str, str]) -> str:
    """Returns a row's run file: the table's, with words in its name replaced."""
    path = Path(run_file)
    changed = reduce(lambda text, pair: text.replace(*pair), words.items(), path.name)
    if words and changed == path.name:
        raise ConfigError(
            f"--recipe {run_file}: row {row!r} has another run file, found by replacing "
            f"{' or '.join(words)} in the name; found none of them"
        )
    return str(path.with_name(changed))


def _overrides(settings: Mapping[str, Any]) -> Overrides:
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in settings.items()}
    return tuple(f"{key}={text}" for key, text in texts.items() if key not in _NO_SETTINGS)


_NO_SETTINGS = ("run_file", "fused", "recipe")
_VALUES: Mapping[str, Any] = read_yaml_mapping(Path(__file__).with_name("ablation_tables.yaml"))
TABLES = {name: ablation_table(name) for name in _VALUES}
