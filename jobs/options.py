"""The options of the command line, each declared once, and functions that verbs share.

An option has the same name, help and type in every verb; a default may differ.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vis_core.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.config.run import RunConfig
    from pipelines.data.given_data import GivenData
    from vis_core.config.inference import InferenceConfig

CONFIGS = Path(__file__).with_name("configs")
PRESET = "tiny"
MODEL_CACHE = Path("~/.cache/longtake/models")
# accepted by a verb that has an option with the new name and none with the old one
OLD_SPELLINGS = {
    "--to": "--out",
    "--zip": "--out",
    "--tracking": "--tracking-uri",
    "--plan": "--dry-run",
    "--images": "--num-images",
}
SEVERAL_VALUES = ("--inputs", "--seeds")


def presets() -> list[str]:
    """Returns the names of the run files that come with the project."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def option(words: str, text: str, **attributes: Any) -> Any:
    """Declares an option by its name, any placeholder (as in ``--seed N``) and its help."""
    name, _, metavar = words.partition(" ")
    return typer.Option(name, metavar=metavar or None, help=text, **attributes)


def argument(metavar: str, text: str, **attributes: Any) -> Any:
    """Declares a positional argument by its placeholder and its help."""
    return typer.Argument(metavar=metavar, help=text, **attributes)


def repeated(words: str, text: str) -> Any:
    """Declares a repeatable option, whose values form a list."""
    text = f"{text}; may be repeated."
    return option(words, text, default_factory=list, show_default=False)


_CLASS_MAP = option(
    "--class-map LIST|FILE",
    "ytvis_2019, ytvis_2021, ytvis_2022 or ovis (from COCO's classes), or a YAML file "
    "with the keys target, classes and unmapped.",
)
_COCO = option("--coco PATH", "COCO folder or annotation file.")
_GROUND_TRUTH = option("--gt FILE", "Ground-truth JSON file.")
_MODEL = option("--model MODEL", "Model folder, models:/NAME@ALIAS, hf:ID or published checkpoint.")
_OUT = option("--out PATH", "Where to write the output.")
_SEED = option("--seed N", "Random seed; the same seed gives the same output.")
_WORKERS = option("--workers N", "Number of worker processes.", min=1)

Address = Annotated[
    str | None, option("--address ADDRESS", "Running Ray cluster: HOST:PORT or auto.")
]
BackboneSteps = Annotated[
    int, option("--backbone-steps N", "Backbone pretraining steps; 0: none.", min=0)
]
ClassMap = Annotated[str | None, _CLASS_MAP]
RequiredClassMap = Annotated[str, _CLASS_MAP]
Coco = Annotated[Path | None, _COCO]
RequiredCoco = Annotated[Path, _COCO]
Config = Annotated[
    str, option("--config FILE|PRESET", "Run file or preset.", autocompletion=presets)
]
DryRun = Annotated[
    bool, option("--dry-run", "Check the input and print the plan, but start nothing.")
]
Frames = Annotated[int | None, option("--frames N", "Frames per clip or video.", min=1)]
FromScratch = Annotated[
    bool, option("--from-scratch", "Start from random weights instead of trained ones.")
]
Globs = Annotated[
    list[str],
    repeated("--glob PATTERN", "Only videos whose names match, such as '2026/*/cam1-*'"),
]
GroundTruth = Annotated[Path | None, _GROUND_TRUTH]
Recipe = Annotated[
    str | None,
    option("--recipe FILE|PRESET", "Run file or preset to change.", autocompletion=presets),
]
RequiredGroundTruth = Annotated[Path, _GROUND_TRUTH]
Images = Annotated[
    Path | None, option("--images DIR", "Folder with the images listed in the JSON file.")
]
Json = Annotated[bool, option("--json", "Print one JSON document instead of text.")]
MaxFrames = Annotated[
    int | None, option("--max-frames N", "Use only the first N frames of each video.")
]
Model = Annotated[str | None, _MODEL]
RequiredModel = Annotated[str, _MODEL]
Out = Annotated[str | None, _OUT]
RequiredOut = Annotated[str, _OUT]
Results = Annotated[Path, option("--results FILE", "Results JSON file.")]
Seed = Annotated[int, _SEED]
OptionalSeed = Annotated[int | None, _SEED]
Set = Annotated[list[str], repeated("--set KEY=VALUE", "Override a setting by its dotted key")]
Source = Annotated[str, option("--from SOURCE", "File, folder or hub model to convert.")]
TrackingUri = Annotated[
    str | None, option("--tracking-uri URI", "MLflow store: sqlite:///FILE.db or http(s)://HOST.")
]
Videos = Annotated[Path | None, option("--videos DIR", "Folder of video files to annotate.")]
Vis = Annotated[Path | None, option("--vis DIR", "YouTube-VIS folder with annotations and frames.")]
Workers = Annotated[int | None, _WORKERS]
RequiredWorkers = Annotated[int, _WORKERS]


def report(document: Any, lines: Sequence[str], *, as_json: bool) -> None:
    """Prints one JSON document for programs, or lines for people."""
    print(json.dumps(document, indent=2, default=str) if as_json else "\n".join(lines))


def local_path(text: str) -> Path:
    """Parses an ``--out`` that must be a local path."""
    if "://" in text:
        raise ConfigError(f"--out {text}: expected a path on this machine, found a URL")
    return Path(text)


def read_config(
    config: str, overrides: Sequence[str] = (), *, from_scratch: bool = False
) -> "RunConfig":
    """Reads a run file or preset and applies the overrides."""
    from pipelines.config.loading import load_run_config

    path = run_file(config)
    return load_run_config(path, [*overrides, *(["start_from=null"] if from_scratch else [])])


def run_file(config: str, named: str = "--config") -> Path:
    """Returns the path of a run file or preset that was given with the option ``named``."""
    preset = CONFIGS / f"{config}.yaml"
    path = preset if preset.is_file() else Path(config)
    if not path.is_file():
        raise ConfigError(
            f"{named} {config}: no such run file; give one, or one of {', '.join(presets())}"
        )
    return path


def given_data(
    coco: Path | None,
    vis: Path | None,
    videos: Path | None,
    images: Path | None,
    class_map: str | None = None,
) -> "GivenData":
    """Collects the user's data as absolute paths, since Ray Train workers run in other folders."""
    from pipelines.data.given_data import GivenData
    from vis_core.formats.class_maps import FROM_COCO

    file = None if class_map is None else Path(class_map)
    if file and class_map not in FROM_COCO:
        file = file.absolute()
    if images and not (images.is_dir() and (coco or vis)):
        raise ConfigError(f"--images {images}: expected a folder with the files of --coco or --vis")
    coco, vis, videos, images = (path and path.absolute() for path in (coco, vis, videos, images))
    return GivenData(coco, vis, videos, file, images)


def inference_config(overrides: Sequence[str]) -> "InferenceConfig":
    """Applies overrides to the section ``inference``; a model provides the other sections."""
    from pipelines.config.loading import parse_overrides
    from vis_core.config.inference import InferenceConfig

    return parse_overrides(InferenceConfig, "inference", overrides)
