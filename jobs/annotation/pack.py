"""Packs results for a challenge server: checked, with text counts, as ``results.json`` in a zip."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument("--results", type=Path, required=True, help="YouTube-VIS results, JSON")
    parser.add_argument("--zip", type=Path, required=True, help="the submission to write")
    parser.add_argument(
        "--gt", type=Path, help="the videos and classes of the challenge (its annotations may lack)"
    )


def run(args: argparse.Namespace) -> int:
    """Writes the submission, or says what is wrong with the results."""
    from vis_core.errors import ConfigError
    from vis_core.formats.youtube_vis import pack_results

    if not args.zip.parent.is_dir():
        raise ConfigError(f"--zip: expected a folder {args.zip.parent}, found none; make it first")
    count = pack_results(args.results, args.zip, args.gt)
    print(f"{args.zip}: {count} tracks; send this file to the server")
    return 0
