"""Runs an ablation table of a paper and prints it."""

import argparse
import os

from jobs.options import CONFIGS, absolute_path, add_data_options, given_data


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    from pipelines.experiments.ablation_tables import TABLES

    parser.add_argument(
        "table",
        choices=sorted(TABLES),
        help="; ".join(f"{name}: {table.title}" for name, table in sorted(TABLES.items())),
    )
    parser.add_argument("--out", type=absolute_path, required=True, help="folder of the runs")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="each row is run with each"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of all rows by its dotted key; may be repeated",
    )
    parser.add_argument("--address", help="of a running Ray cluster; default: this machine")
    add_data_options(parser)


def run(args: argparse.Namespace) -> int:
    """Trains, annotates and scores what is not finished, then prints the table."""
    from pipelines.cluster import ray_session
    from pipelines.data.given_data import check_given
    from pipelines.experiments.ablation import AblationJob, check, markdown, run_ablation
    from pipelines.experiments.ablation_tables import TABLES

    table = TABLES[args.table]
    given = given_data(args)
    check_given(given)
    job = AblationJob(
        table=table,
        source=CONFIGS / f"{table.preset}.yaml",
        overrides=tuple(args.set),
        seeds=tuple(dict.fromkeys(args.seeds)),
        given=given,
        out=args.out,
    )
    check(job)
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    first = job.config(table.rows[0], job.seeds[0], inference=False)
    with ray_session(first.ray, args.address):
        rows = run_ablation(job)
    print(markdown(table, rows, job.seeds))
    print(args.out / "table.md")
    return 0
