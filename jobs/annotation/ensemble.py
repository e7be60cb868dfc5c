"""``longtake ensemble``: fusion of several results for the same videos."""

from typing import Annotated

from jobs import options
from jobs.options import option

DETAILS = (
    "The inputs are YouTube-VIS results, or single-video results or whole folders (even on s3://) "
    "that longtake annotate wrote. The output is of the same kind; the input order does not matter."
)
EXAMPLES = (
    "longtake ensemble --inputs a.json b.json --out c.json --set inference.fusion.score=max",
    "longtake ensemble --inputs annotations-a annotations-b --out fused",
)


def run(
    *,
    inputs: Annotated[
        list[str], option("--inputs PATH...", "Results to fuse, separated by spaces.")
    ],
    out: options.RequiredOut,
    overrides: options.Set,
    as_json: options.Json = False,
) -> None:
    """Fuses the results, with one video in memory at a time."""
    from pipelines.results.ensemble import fuse

    fused = fuse(inputs, out, options.inference_config(overrides).fusion)
    options.report(fused.to_json(), fused.describe(), as_json=as_json)
