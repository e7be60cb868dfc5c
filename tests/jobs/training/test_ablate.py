"""A small ablation table: rows that differ run separately, finished ones are left alone."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from jobs.cli import main
from jobs.options import CONFIGS
from pipelines.config.loading import flatten, load_run_config
from pipelines.config.run import RunConfig
from pipelines.data.given_data import GivenData
from pipelines.experiments.ablation import AblationJob, RowScores, check, markdown
from pipelines.experiments.ablation_tables import (
    TABLES,
    AblationRow,
    AblationTable,
    ablation_table,
)
from tests.helpers import ablations_page
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
    names = {row.run_file for row in table.rows}
    sources = {name: CONFIGS / f"{name}.yaml" for name in names}
    return AblationJob(table, sources, overrides, (0,), GivenData(None, None, None), Path("out"))


def settings(source: Path, changes: tuple[str, ...] = ()) -> dict[str, Any]:
    return flatten(load_run_config(source, changes))


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


PAIRLESS = ("idol_5", "idol_6", "idol_7")  # on recipes whose stages hold videos alone
RECIPES = {
    "tiny": "ctvis_r50_ytvis19",
    "idol_tiny": "idol_swinl_ytvis22_long_2nd",
    "stc_tiny": "stc_r50_ovis",
}
ROWS = [
    pytest.param(table, row, id=f"{name}-{row.name}-{row.run_file}")
    for name, preset in TABLES.items()
    for table in (
        preset,
        ablation_table(name, "idol_r50_ovis" if name in PAIRLESS else RECIPES[preset.run_file]),
    )
    for row in table.rows
]


@pytest.mark.parametrize(("table", "row"), ROWS)
def test_a_row_changes_the_keys_that_it_states_and_no_others(
    table: AblationTable, row: AblationRow
) -> None:
    source = CONFIGS / f"{row.run_file}.yaml"
    base = settings(source, table.shared)
    changed = settings(source, (*table.shared, *row.training, *row.inference))
    different = {key for key in base.keys() | changed.keys() if base.get(key) != changed.get(key)}
    stated = [key_pattern(source, change) for change in row.training + row.inference]
    for key in different:
        assert any(re.fullmatch(pattern, key) for pattern in stated), key


def key_pattern(source: Path, change: str) -> str:
    """Returns a pattern of the dotted keys that a change may touch."""
    key, _, value = change.partition("=")
    first, *rest = key.split(".")
    if first == "stages":
        if value == "null" and len(rest) == 1:
            return r"stages\..*"  # the later stages move up
        names = [stage.name for stage in load_run_config(source).stages]
        number = r"\d+" if rest[0] == "*" else rest[0]
        rest[0] = str(names.index(number)) if number in names else number
    return r"\.".join([first, *rest]) + r"(\..*)?"


def test_the_page_of_ablations_is_up_to_date() -> None:
    page = ablations_page.PAGE.read_text(encoding="utf-8")
    assert page == ablations_page.page(), "python -m tests.helpers.ablations_page writes it"


def test_the_changes_take_effect() -> None:
    """Checks one row of each kind: every item of a list, a removed stage, another system."""

    def config(table: AblationTable, name: str) -> RunConfig:
        (row,) = (row for row in table.rows if row.name == name)
        return job(table).config(row, 0, inference=True)

    frames = config(ablation_table("ctvis_fig4", "ctvis_r50_ovis"), "CTVIS, 6 frames")
    assert frames.pseudo.num_frames == 6
    assert [stage.clip_frames for stage in frames.stages] == [6] * len(frames.stages)
    images = config(ablation_table("ctvis_7", "ctvis_swinl_ytvis21"), "MinVIS, 5 %")
    assert images.system.name == "minvis" and images.supervision is not None
    assert {stage.clips for stage in images.stages} == {"images"}
    assert all(stage.clips != "pairs" for stage in config(TABLES["idol_5"], "IDOL").stages)
    convnext = ablation_table("winner_2", "idol_swinl_ytvis22_long_2nd")
    assert config(convnext, "other model").system.segmentor.backbone == "convnext_l"
    assert config(convnext, "other backbone").system.segmentor.backbone == "resnet50"


def test_a_recipe_of_which_a_row_has_no_other_is_refused(tmp_path: Path) -> None:
    command = ["ablate", "ctvis_6", "--dry-run", "--out", str(tmp_path / "a"), "--recipe"]
    for recipe in ("r50", "ctvis_r50_ytvis1"):
        assert main([*command, recipe]) == 2
    assert main([*command, "ctvis_r50_ovis"]) == 0
    assert not (tmp_path / "a").exists()


def test_the_rows_of_idols_tables_are_one_change_each() -> None:
    rows = TABLES["idol_6"].rows
    settings = [row.training + row.inference for row in rows if "id_head" not in str(row)]
    changed = [set(a) ^ set(b) for a, b in zip(settings[:-1], settings[1:], strict=True)]
    assert all(len(change) == 2 for change in changed)  # one key, its old and its new value


def test_a_row_that_does_not_fit_is_refused_before_anything_is_trained() -> None:
    row = AblationRow("x", "idol_tiny", (), ("system.association=none",))
    table = AblationTable("t", "idol_tiny", (row,))
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
    assert "quality-null_boundary-null" in trained
    started = time.monotonic()
    assert main(command) == 0
    assert time.monotonic() - started < first / 2
    assert json.loads((tmp_path / "a" / "table.json").read_text()) == table
