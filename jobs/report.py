"""``longtake report RUN_DIR``: writes the HTML page of a run."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("run_dir", type=Path, help="folder of a run")
    parser.add_argument(
        "--out", type=Path, default=None, help="the page (default: RUN_DIR/report.html)"
    )
    parser.add_argument(
        "--embed-mb",
        type=float,
        default=48.0,
        metavar="MB",
        help="pictures and videos inside the page; the rest is linked (default 48; 0 links all)",
    )


def run(args: argparse.Namespace) -> int:
    """Writes the page and says where it is."""
    from pipelines.reports.collect import collect_report
    from pipelines.reports.page import write_report

    page: Path = args.out or args.run_dir / "report.html"
    write_report(page, collect_report(args.run_dir), total_bytes=int(args.embed_mb * 2**20))
    print(page)
    return 0
