"""A results file as challenge servers want it: ``results.json`` alone in a zip."""

import json
import os
import zipfile
from pathlib import Path

from vis_core.errors import AnnotationError
from vis_core.formats.defects import Defects
from vis_core.formats.result_checks import check_results, entries_alone
from vis_core.formats.youtube_vis import read_youtube_vis, video_entries

MEMBER = "results.json"
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the zip of the same results is the same to the byte


def pack_results(results: Path, target: Path, ground_truth: Path | None) -> int:
    """Checks results and writes the zip, whole or not at all.

    Args:
        results: The results file; uncompressed runs become text.
        target: The zip.
        ground_truth: Videos and classes to check against; None checks the entries alone.

    Returns:
        How many tracks were packed.

    Raises:
        AnnotationError: If the results are wrong or empty.
    """
    defects = Defects(results)
    if ground_truth is None:
        entries = entries_alone(results, defects)
    else:
        videos, categories = read_youtube_vis(ground_truth)
        entries = check_results(results, video_entries(videos), categories, defects)
    defects.finish()
    if not entries:
        raise AnnotationError(f"{results}: expected results, found none; a server refuses them")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            info = zipfile.ZipInfo(MEMBER, _FIXED_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, json.dumps(entries, allow_nan=False))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return len(entries)
