"""``longtake pack``: results checked and packed for a challenge server."""

from jobs import options

DETAILS = (
    "Writes results.json, with RLE counts as text, into a zip. --gt is a file with the "
    "challenge's videos and classes; it needs no annotations."
)
EXAMPLES = ("longtake pack --results results.json --gt valid.json --out submission.zip",)


def run(
    *, results: options.Results, out: options.RequiredOut, ground_truth: options.GroundTruth = None
) -> None:
    """Writes the submission, or lists the results' defects."""
    from vis_core.errors import ConfigError
    from vis_core.formats.youtube_vis import pack_results

    path = options.local_path(out)
    if not path.parent.is_dir():
        raise ConfigError(f"--out: expected a folder {path.parent}, found none; make it first")
    count = pack_results(results, path, ground_truth)
    print(f"{path}: {count} tracks; send this file to the server")
