"""Options that the verbs of a run share."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.config.run import RunConfig
    from pipelines.data.given_data import GivenData
    from vis_core.config.inference import InferenceConfig

CONFIGS = Path(__file__).with_name("configs")


PRESET = "tiny"


def add_config_options(parser: argparse.ArgumentParser, default: str = PRESET) -> None:
    """Declares which run file is read and what is changed in it."""
    presets = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    parser.add_argument(
        "--config",
        default=default,
        metavar="FILE|PRESET",
        help=f"run file, or one of {', '.join(presets)} (default {default})",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a setting by its dotted key; may be repeated",
    )
    parser.add_argument("--from-scratch", action="store_true", help="ignore start weights")


def absolute_path(text: str) -> Path:
    """Reads a path of the command line so that it means the same in every worker.

    Ray Train's workers run in folders of their own.
    """
    return Path(text).absolute()


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Declares the user's own data."""
    parser.add_argument("--coco", type=absolute_path, help="COCO folder or annotation file")
    parser.add_argument("--vis", type=absolute_path, help="YouTube-VIS style folder")
    parser.add_argument("--videos", type=absolute_path, help="folder of video files to annotate")


def read_config(args: argparse.Namespace) -> "RunConfig":
    """Reads the run file that the options name."""
    from pipelines.config.loading import load_run_config
    from vis_core.errors import ConfigError

    preset = CONFIGS / f"{args.config}.yaml"
    path = preset if preset.is_file() else Path(args.config)
    if not path.is_file():
        presets = ", ".join(sorted(each.stem for each in CONFIGS.glob("*.yaml")))
        raise ConfigError(
            f"--config {args.config}: no such run file; give one, or one of {presets}"
        )
    overrides = [*args.set, *(["start_from=null"] if args.from_scratch else [])]
    return load_run_config(path, overrides)


def given_data(args: argparse.Namespace) -> "GivenData":
    """Collects the user's own data."""
    from pipelines.data.given_data import GivenData

    return GivenData(args.coco, args.vis, args.videos)


def inference_config(overrides: list[str]) -> "InferenceConfig":
    """Applies overrides of the section ``inference``; the model fixes the other sections.

    Raises:
        ConfigError: If an override names another section or does not fit the schema.
    """
    from pipelines.config.loading import parse_overrides
    from vis_core.config.inference import InferenceConfig

    return parse_overrides(InferenceConfig, "inference", overrides)
