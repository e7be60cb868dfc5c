"""Fuses several results of the same videos: views, models, systems."""

import argparse
from pathlib import Path

from jobs.options import inference_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the verb."""
    parser.add_argument(
        "--inputs",
        nargs="+",
        required=True,
        help="YouTube-VIS results; or results of one video, or whole folders (s3:// too), that "
        "`longtake annotate` wrote",
    )
    parser.add_argument("--out", required=True, help="fused results, of the kind of the inputs")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change how results are fused: inference.fusion.score=max; may be repeated",
    )


def run(args: argparse.Namespace) -> int:
    """Fuses video by video; memory holds one video."""
    fusion = inference_config(args.set).fusion
    if any("://" in name or Path(name).is_dir() for name in args.inputs):
        from pipelines.results.ensemble_archive import fuse_archives
        from pipelines.storage.open import open_storage

        stores = [open_storage(name) for name in args.inputs]
        print("\n".join(fuse_archives(stores, open_storage(args.out), fusion).describe()))
        return 0
    from pipelines.results.ensemble_archive import fuse_documents
    from pipelines.results.ensemble_files import fuse_files

    inputs, out = [Path(name) for name in args.inputs], Path(args.out)
    _refuse_out(inputs, out)
    of_annotate = [_is_object(path) for path in inputs]
    fuse = fuse_documents if all(of_annotate) else fuse_files
    print(f"{fuse(inputs, out, fusion)} tracks in {out}")
    return 0


def _refuse_out(inputs: list[Path], out: Path) -> None:
    from vis_core.errors import ConfigError

    if not out.parent.is_dir():
        raise ConfigError(f"--out: expected a folder {out.parent}, found none; make it first")
    if out.resolve() in {path.resolve() for path in inputs}:
        raise ConfigError(f"--out {out}: is one of the inputs; name another file")


def _is_object(path: Path) -> bool:
    """Whether a file begins as what ``annotate`` writes of a video; a list of results does not."""
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip().startswith(b"{")
    except OSError:
        return False  # the reader says what is wrong
