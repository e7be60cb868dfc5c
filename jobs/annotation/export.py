"""``longtake export``: results of ``annotate`` as YouTube-VIS files, one for each video."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument(
        "results", metavar="RESULTS", help="the --out of `longtake annotate`: folder or s3://"
    )
    parser.add_argument(
        "--to", type=Path, required=True, metavar="DIR", help="folder of the YouTube-VIS files"
    )
    parser.add_argument(
        "--glob",
        action="append",
        default=[],
        metavar="PATTERN",
        help="only videos whose name matches; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """Writes what is not there yet, and says how many and where."""
    from pipelines.results.export import export_results
    from pipelines.storage.open import open_storage

    exported = export_results(open_storage(args.results), args.to, args.glob)
    print("\n".join(exported.describe()))
    return 0
