"""``longtake ensemble``: fusion of several results for the same videos."""

from typing import Annotated

from jobs import options
from jobs.options import option

DETAILS = (
    "The inputs are all of one kind: YouTube-VIS results, results of longtake annotate for one "
    "video, or its output folders (also on s3://). The output is of the same kind. The order of "
    "the inputs does not matter."
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
    params_hashes: options.ParamsHashes,
    as_json: options.Json = False,
) -> None:
    """Fuses the results, with one video in memory at a time."""
    from pipelines.results.ensemble import fuse

    fused = fuse(inputs, out, options.inference_config(overrides).fusion, params_hashes)
    options.report(fused.to_json(), fused.describe(), as_json=as_json)
