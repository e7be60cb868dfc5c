"""Writes docs/ablations.md: every row of every ablation table with its command.

``python -m tests.helpers.ablations_page`` writes it; ``tests/jobs/training/test_ablate.py`` fails
when it is out of date.
"""

import shlex
import textwrap
from pathlib import Path

from pipelines.experiments.ablation_tables import TABLES, AblationRow, AblationTable

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ablations.md"
HEAD = """# Ablations

`python -m tests.helpers.ablations_page` writes this page from the tables in
`pipelines/experiments/ablation_tables.yaml`.

```sh
longtake ablate ctvis_3 --out runs/ctvis_3 --seeds 0 1 2
longtake ablate ctvis_3 --recipe ctvis_r50_ytvis19 --coco COCO --vis YTVIS19 --out runs/ctvis_3
longtake ablate ctvis_3 --recipe ctvis_r50_ytvis19 --dry-run --out runs/ctvis_3
```

`longtake ablate TABLE` trains and scores every row, by default on a tiny preset and synthetic
scenes. With `--recipe`, it uses a recipe or your own run file, and the data given by `--coco` and
`--vis`. It prints the mean and the standard deviation of each score over the seeds. Finished rows
are skipped. `--set` changes a setting of all rows; a row's own changes are applied last.

A row of another system changes that system's run file of the same name: next to `ctvis_mine`, a row
of MinVIS changes `minvis_mine`. Set the start weights (`start_from`) in each of these files,
because `--set start_from=PATH` would apply to all rows.

The commands below train each row alone, on the preset. Changes to `system.association`,
`system.selection` and `inference` need no training: `ablate` trains only one model for rows that
differ only in these settings.
"""


def page() -> str:
    """Returns the page: a section for each table."""
    return "\n".join([HEAD, *(_section(name, table) for name, table in TABLES.items())])


def _section(name: str, table: AblationTable) -> str:
    rows = [f"| {row.name} | {_command(table, row)} |" for row in table.rows]
    text = table.note[:1].upper() + table.note[1:] + "."
    note = [textwrap.fill(text, 120, break_on_hyphens=False), ""] if table.note else []
    head = [f"## {name}", "", f"{table.title}.", "", *note]
    return "\n".join([*head, "| row | command |", "| --- | --- |", *rows, ""])


def _command(table: AblationTable, row: AblationRow) -> str:
    if row.fused:
        return f"`longtake ensemble` of the results of: {'; '.join(row.fused)}"
    changes = (*table.shared, *row.training, *row.inference)
    words = [word for change in changes for word in ("--set", change)]
    return f"`{shlex.join(['longtake', 'train', row.run_file, *words])}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
