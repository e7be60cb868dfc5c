"""A small ablation table: rows that differ run separately, finished ones are left alone."""

import json
import time
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.options import CONFIGS
from pipelines.data.given_data import GivenData
from pipelines.experiments.ablation import AblationJob, RowScores, check, markdown
from pipelines.experiments.ablation_tables import TABLES, AblationRow, AblationTable
from vis_core.errors import ConfigError

SMALL = {
    "synthetic.images": 6,
    "synthetic.train_videos": 2,
    "synthetic.val_videos": 1,
    "synthetic.test_videos": 2,
    "synthetic.archive_videos": 1,
    "synthetic.video_frames": 4,
    "stages": "[{name: videos, clips: videos, clip_frames: 2, steps: 2, batch_size: 2}]",
}


def job(table: AblationTable, overrides: tuple[str, ...] = ()) -> AblationJob:
    source = CONFIGS / f"{table.preset}.yaml"
    return AblationJob(table, source, overrides, (0,), GivenData(None, None, None), Path("out"))


@pytest.mark.parametrize("name", TABLES)
def test_every_row_is_a_valid_run_and_differs_from_the_others(name: str) -> None:
    table = TABLES[name]
    check(job(table))
    runs = [job(table).config(row, 0, inference=True) for row in table.rows]
    trained = [run for run, row in zip(runs, table.rows, strict=True) if not row.fused]
    assert len({run.model_dump_json() for run in trained}) == len(trained)
    names = [row.name for row in table.rows]
    for place, row in enumerate(table.rows):
        assert set(row.fused) <= set(names[:place])


def test_the_rows_of_idols_tables_are_one_change_each() -> None:
    rows = TABLES["idol_6"].rows
    settings = [row.training + row.inference for row in rows]
    changed = [set(a) ^ set(b) for a, b in zip(settings[:-1], settings[1:], strict=True)]
    assert all(len(change) == 2 for change in changed)  # one key, its old and its new value


def test_a_row_that_does_not_fit_is_refused_before_anything_is_trained() -> None:
    table = AblationTable("t", "idol_tiny", (AblationRow("x", (), ("system.association=none",)),))
    with pytest.raises(ConfigError, match="association 'none': expected a section or one of ctvis"):
        check(job(table))


def test_a_table_says_mean_and_spread() -> None:
    columns = ("ap", "ap50", "ap75", "ar1", "ar10")
    scores = tuple(dict.fromkeys(columns, value) for value in (0.2, 0.4))
    text = markdown(TABLES["idol_6"], [RowScores("a row", scores)], (3, 4))
    assert "2 seeds" in text
    assert "| a row | 0.300 ± 0.141 |" in text


@pytest.mark.slow
def test_a_table_is_run_and_found_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    command = ["ablate", "winner_1", "--out", str(tmp_path / "a"), "--seeds", "5", *changes]
    started = time.monotonic()
    assert main(command) == 0
    first = time.monotonic() - started
    printed = capsys.readouterr().out
    table = json.loads((tmp_path / "a" / "table.json").read_text())
    assert [row["name"] for row in table["rows"]] == [row.name for row in TABLES["winner_1"].rows]
    assert all(row.name in printed for row in TABLES["winner_1"].rows)
    trained = sorted(path.name for path in (tmp_path / "a" / "seed_5").iterdir())
    assert len([name for name in trained if not name.startswith("fused-")]) == 3
    assert "unchanged" in trained
    started = time.monotonic()
    assert main(command) == 0
    assert time.monotonic() - started < first / 2
    assert json.loads((tmp_path / "a" / "table.json").read_text()) == table
