"""``longtake export``: results of ``annotate`` as YouTube-VIS files, one for each video."""

from typing import Annotated

from jobs import options
from jobs.options import argument

DETAILS = "Existing files are left unchanged."
EXAMPLES = ("longtake export annotations --out youtube_vis --glob 'cam1-*'",)


def run(
    *,
    results: Annotated[
        str, argument("RESULTS", "Folder or s3://BUCKET/PREFIX that longtake annotate wrote.")
    ],
    out: options.RequiredOut,
    globs: options.Globs,
    as_json: options.Json = False,
) -> None:
    """Writes the missing files and prints how many were written and how many already existed."""
    from pipelines.results.export import export_results
    from pipelines.storage.open import open_storage

    exported = export_results(open_storage(results), options.local_path(out), globs)
    document = {
        "folder": str(exported.folder),
        "written": exported.num_written,
        "found": exported.num_there,
    }
    options.report(document, exported.describe(), as_json=as_json)
