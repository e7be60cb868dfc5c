"""``longtake status``: the progress of an annotation job that runs elsewhere."""

import argparse
import json
import time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument(
        "out", metavar="OUT", help="folder or s3://bucket/prefix of the results of a job"
    )
    parser.add_argument("--json", action="store_true", help="print status.json for programs")


def run(args: argparse.Namespace) -> int:
    """Prints the status of a job."""
    from pipelines.annotation.status import describe, read_status

    document = read_status(args.out)
    lines = [json.dumps(document, indent=2)] if args.json else describe(document, time.time())
    print("\n".join(lines))
    return 0
