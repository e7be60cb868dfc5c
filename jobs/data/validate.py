"""``longtake validate``: every defect in annotation, result and image files."""

from pathlib import Path
from typing import Annotated, Literal

from jobs import options
from jobs.options import argument, option

DETAILS = (
    "Exits with code 2 if a file cannot be used. --images opens every image; --gt checks results "
    "against the videos and classes of a ground truth. --out saves the report as JSON."
)
EXAMPLES = (
    "longtake validate scenes/coco/instances.json --images scenes/coco/images",
    "longtake validate results.json --gt truth.json --json",
)


def run(
    *,
    files: Annotated[list[Path], argument("FILE...", "JSON or image files to check.")],
    images: options.Images = None,
    ground_truth: options.GroundTruth = None,
    kind: Annotated[
        Literal["coco", "youtube_vis", "results", "image"] | None,
        option("--kind", "Kind of the files; detected by default."),
    ] = None,
    out: options.Out = None,
    as_json: options.Json = False,
) -> int:
    """Prints all defects in all files; returns 2 if any file cannot be used."""
    import json

    from pipelines.data.check_files import check_file
    from vis_core.errors import ConfigError
    from vis_core.files import write_json

    if images is not None and not images.is_dir():
        raise ConfigError(f"--images: expected a folder, found none at {images}; correct it")
    reports = []
    for file in files:
        reports.append(check_file(file, kind, images, ground_truth))
        if not as_json:
            print("\n".join(reports[-1].lines()))
    documents = [report.to_json() for report in reports]
    if as_json:
        print(json.dumps(documents, indent=2))
    if out is not None:
        write_json(options.local_path(out), documents)
    return 2 if any(report.error_count for report in reports) else 0
