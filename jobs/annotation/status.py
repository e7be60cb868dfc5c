"""``longtake status``: the progress of an annotation job."""

import time
from typing import Annotated

from jobs import options
from jobs.options import argument

DETAILS = "The job may run on another machine, because its status.json is stored with the results."
EXAMPLES = ("longtake status annotations", "longtake status s3://bucket/annotations --json")


def run(
    *,
    out: Annotated[
        str, argument("OUT", "Folder or s3://BUCKET/PREFIX given to longtake annotate as --out.")
    ],
    as_json: options.Json = False,
) -> None:
    """Prints the counts, the speed, the time left and the workers."""
    from pipelines.annotation.status import describe, read_status

    document = read_status(out)
    options.report(document, describe(document, time.time()), as_json=as_json)
