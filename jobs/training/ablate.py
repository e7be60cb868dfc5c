"""``longtake ablate``: a paper's ablation table."""

from typing import Annotated

from jobs import options
from jobs.options import argument, option
from pipelines.experiments.ablation_tables import TABLES, ablation_table
from vis_core.errors import ConfigError

_TITLES = "; ".join(f"{name} ({table.title})" for name, table in sorted(TABLES.items()))
DETAILS = (
    f"Tables: {_TITLES}. Without --recipe, a table's rows change a tiny preset. Rows of another "
    "system change that system's run file of the same name, in the same folder as the given one."
)
EXAMPLES = (
    "longtake ablate idol_6 --out runs/idol_6 --seeds 0 1 2",
    "longtake ablate ctvis_3 --recipe ctvis_r50_ytvis19 --coco COCO --vis VIS --out runs/ctvis_3",
)


def _table_names() -> list[str]:
    return sorted(TABLES)


def run(
    *,
    table: Annotated[str, argument("TABLE", "Table name.", autocompletion=_table_names)],
    out: options.RequiredOut,
    seeds: Annotated[
        list[int],
        option(
            "--seeds N...",
            "Random seeds; each row runs once per seed.",
            default_factory=lambda: [0, 1, 2],
            show_default="0 1 2",
        ),
    ],
    overrides: options.Set,
    recipe: options.Recipe = None,
    dry_run: options.DryRun = False,
    address: options.Address = None,
    coco: options.Coco = None,
    vis: options.Vis = None,
    images: options.Images = None,
    videos: options.Videos = None,
    as_json: options.Json = False,
) -> None:
    """Trains, annotates and scores the unfinished rows, then prints the table."""
    from pipelines.cluster import ray_session
    from pipelines.data.given_data import check_given
    from pipelines.experiments.ablation import AblationJob, check, markdown, run_ablation, to_json

    if table not in TABLES:
        raise ConfigError(f"{table}: no such table; expected one of {', '.join(_table_names())}")
    given = options.given_data(coco, vis, videos, images)
    classes = check_given(given)
    rows = ablation_table(table, recipe)
    files = {row.run_file for row in rows.rows}
    job = AblationJob(
        table=rows,
        sources={name: options.run_file(name, "--recipe") for name in sorted(files)},
        overrides=tuple(overrides),
        seeds=tuple(dict.fromkeys(seeds)),
        given=given,
        out=options.local_path(out).absolute(),
    )
    check(job, classes)
    if dry_run:
        changes = {row.name: row.changes for row in rows.rows}
        lines = [f"{row.name} ({row.run_file}): {'  '.join(row.changes)}" for row in rows.rows]
        lines.append(f"all rows: {'  '.join(rows.shared)}")
        document = {"rows": changes, "shared": rows.shared, "seeds": job.seeds}
        options.report(document, lines, as_json=as_json)
        return
    first = job.config(job.table.rows[0], job.seeds[0], inference=False)
    with ray_session(first.ray, address):
        scores = run_ablation(job)
    lines = [markdown(job.table, scores, job.seeds), str(job.out / "table.md")]
    options.report(to_json(job, scores), lines, as_json=as_json)
