"""``longtake export``: results of ``annotate`` as YouTube-VIS files, one for each video."""

from typing import Annotated

from jobs import options
from jobs.options import argument

DETAILS = "Existing files are left unchanged. Several commands may have written the results."
EXAMPLES = ("longtake export annotations --out youtube_vis --glob 'cam1-*'",)


def run(
    *,
    results: Annotated[
        str, argument("RESULTS", "Folder or s3://BUCKET/PREFIX that longtake annotate wrote.")
    ],
    out: options.RequiredOut,
    globs: options.Globs,
    params_hashes: options.ParamsHashes,
    as_json: options.Json = False,
) -> None:
    """Writes the missing files and prints how many were written and how many already existed."""
    from pipelines.results.export import export_results
    from pipelines.storage.open import open_storage

    exported = export_results(open_storage(results), options.local_path(out), globs, params_hashes)
    options.report(exported.to_json(), exported.describe(), as_json=as_json)
