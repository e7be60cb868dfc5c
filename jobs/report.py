"""``longtake report``: a run's HTML report."""

from pathlib import Path
from typing import Annotated

from jobs import options
from jobs.options import argument, option

DETAILS = "Without --out, the page is RUN_DIR/report.html."
EXAMPLES = ("longtake report runs/demo",)


def run(
    *,
    run_dir: Annotated[Path, argument("RUN_DIR", "Run folder.")],
    out: options.Out = None,
    embed_mb: Annotated[
        float,
        option("--embed-mb MB", "Maximum size of all embedded media; other files are linked."),
    ] = 48.0,
) -> None:
    """Writes the report page and prints its path."""
    from pipelines.reports.collect import collect_report
    from pipelines.reports.page import write_report

    page = run_dir / "report.html" if out is None else options.local_path(out)
    write_report(page, collect_report(run_dir), total_bytes=int(embed_mb * 2**20))
    print(page)
