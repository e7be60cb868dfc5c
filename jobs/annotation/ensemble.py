"""``longtake ensemble``: several results of the same videos fused into one."""

from typing import Annotated

from jobs import options
from jobs.options import option

DETAILS = (
    "The inputs are YouTube-VIS results, results of one video, or whole folders (s3:// too) that "
    "longtake annotate wrote. The output is of the same kind; the order of inputs does not matter."
)
EXAMPLES = (
    "longtake ensemble --inputs a.json b.json --out c.json --set inference.fusion.score=max",
    "longtake ensemble --inputs annotations-a annotations-b --out fused",
)


def run(
    *,
    inputs: Annotated[list[str], option("--inputs PATH...", "Results to fuse, one after another.")],
    out: options.RequiredOut,
    overrides: options.Set,
    as_json: options.Json = False,
) -> None:
    """Fuses video by video; memory holds one video."""
    from pipelines.results.ensemble import fuse

    fused = fuse(inputs, out, options.inference_config(overrides).fusion)
    options.report(fused.to_json(), fused.describe(), as_json=as_json)
