"""Several annotation commands that write into one folder, in this process and without Ray."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pipelines.annotation.archive.filters import parse_filter
from pipelines.annotation.archive.listing import list_archive
from pipelines.annotation.ledger import Ledger, json_digest
from pipelines.annotation.options import AnnotateOptions
from pipelines.annotation.worker import AnnotateJob, VideoAnnotator
from pipelines.registry.mlflow_registry import ModelReference
from pipelines.storage.open import open_storage
from tests.helpers.toy_archive import outcome
from tests.helpers.toy_loaders import load_toy
from vis_core.config.inference import InferenceConfig

# two cameras, with a name in common
VIDEOS = ("camA/x.mp4", "camA/y.mp4", "camB/x.mp4", "camB/z.mp4")


@dataclass(frozen=True)
class Command:
    """An annotation command: an archive, the patterns of its names, and settings."""

    archive: str
    globs: tuple[str, ...] = ()
    max_frames: int | None = 2

    def run(self, out: str, model: ModelReference) -> None:
        """Annotates the pending videos and writes the manifest, as ``annotate`` does."""
        archive = list_archive(self.archive, parse_filter(globs=self.globs))
        config, options = InferenceConfig(), AnnotateOptions(max_frames=self.max_frames)
        settings = options.settings_document(config)
        ledger = Ledger(open_storage(out), json_digest([model.digest, settings]))
        job = AnnotateJob(archive.storage, ledger, model, config, options, load_toy)
        annotator = VideoAnnotator(job)
        annotator.load()
        pending = ledger.survey(archive.videos).pending
        rows = [outcome(annotator, video, 1, False) for video in pending]
        ledger.write_manifest({"model": str(model)}, rows)


def by_glob(root: str, _: Path) -> list[Command]:
    return [Command(root, (f"{camera}/*",)) for camera in ("camA", "camB")]


def by_overlapping_globs(root: str, _: Path) -> list[Command]:
    return [Command(root, globs) for globs in (("*",), ("camA/*",), ("*/x.mp4",), ("*/z*",))]


def by_list(root: str, folder: Path) -> list[Command]:
    """Names the videos in two lists, which share one."""
    commands = []
    for number, names in enumerate((VIDEOS[:2], VIDEOS[1:])):
        path = folder / f"list{number}.txt"
        path.write_text("\n".join(f"{root}/{name}" for name in names))
        commands.append(Command(str(path)))
    return commands


def by_folder(root: str, _: Path) -> list[Command]:
    """Annotates each camera's folder; two videos then have one name and other content."""
    return [Command(f"{root}/{camera}") for camera in ("camA", "camB")]


def by_file(root: str, _: Path) -> list[Command]:
    return [Command(f"{root}/{name}") for name in VIDEOS]


WAYS: tuple[Callable[[str, Path], list[Command]], ...] = (
    by_glob,
    by_overlapping_globs,
    by_list,
    by_folder,
    by_file,
)


def run_all(
    commands: Sequence[Command], out: str, model: ModelReference, *, at_once: bool = False
) -> None:
    """Runs the commands one after the other, or all at once."""
    with ThreadPoolExecutor(len(commands) if at_once else 1) as threads:
        list(threads.map(lambda command: command.run(out, model), commands))
