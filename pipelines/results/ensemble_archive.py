"""Fuses results that ``annotate`` wrote with several models for one video or one archive.

A fused result is written once, under a digest of its inputs. A repeated command fuses only the
remaining videos, so a killed job loses at most one video.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines.annotation.ledger import RESULTS, Ledger, VideoRow, json_bytes, json_digest
from pipelines.progress import Progress
from pipelines.results.document import ResultDocument, read_result_document
from pipelines.results.index import ChosenResults, choose_results
from pipelines.results.youtube_vis import result_document
from pipelines.storage.base import Storage
from vis_core.config.inference import FusionConfig
from vis_core.errors import AnnotationError, ConfigError, shown_name
from vis_core.files import write_json
from vis_core.inference.fusion import fuse_tracks
from vis_core.structures import VideoResult

_OF_THE_VIDEO = ("video", "video_version", "video_bytes", "max_frames")


@dataclass
class FusedArchive:
    """The outcome of a fusion job."""

    out: str
    rows: list[VideoRow] = field(default_factory=list)  # one for every video in any input
    num_skipped: int = 0  # videos that an earlier run had finished
    chosen: list[ChosenResults] = field(default_factory=list)  # one for each input

    @property
    def failed(self) -> list[VideoRow]:
        """The videos that were not fused."""
        return [row for row in self.rows if row.status == "failed"]

    def describe(self) -> list[str]:
        """Returns the final lines for the user."""
        lines = [line for each in self.chosen for line in each.describe()]
        lines += [f"not fused: {shown_name(row.video)}: {row.reason}" for row in self.failed]
        counts = f"{len(self.rows)} videos: {len(self.rows) - len(self.failed)} fused"
        if self.failed:
            counts += f", {len(self.failed)} not"
        if self.num_skipped:
            counts += f"; {self.num_skipped} of them by an earlier run"
        return [*lines, counts, f"results: {self.out}"]

    def to_json(self) -> dict[str, Any]:
        """Returns the outcome for programs."""
        videos = list(map(asdict, self.rows))
        inputs = [each.to_json() for each in self.chosen]
        return {"out": self.out, "skipped": self.num_skipped, "inputs": inputs, "videos": videos}


def fuse_documents(inputs: Sequence[Path], out: Path, config: FusionConfig) -> int:
    """Fuses results of one video; returns the number of tracks. A failure writes nothing.

    Raises AnnotationError if an input is faulty, or the inputs differ in their video or classes.
    """
    document = _fuse([read_result_document(path) for path in inputs], list(inputs), config)
    write_json(out, document)
    return len(document["annotations"])


def fuse_archives(
    inputs: Sequence[Storage], out: Storage, config: FusionConfig, params_hashes: Sequence[str] = ()
) -> FusedArchive:
    """Fuses the results of the videos that all inputs contain, one video in memory at a time.

    Each input holds ``annotate`` results for an archive, of which one model's are fused (see
    ``choose_results``); ``out`` gets the same form.

    Raises:
        ConfigError: An input holds no result or is the output, or a hash fits none.
        StorageError: A store cannot be reached.
    """
    if out.uri in {storage.uri for storage in inputs}:
        raise ConfigError(f"--out {out.uri}: is one of the inputs; name another place")
    settings = config.model_dump(mode="json")
    chosen = choose_results(inputs, params_hashes)
    done = [each.group.keys for each in chosen]
    ledger = Ledger(out, json_digest(settings))
    out.remove_stale_partials()
    finished = {entry.key for entry in out.list(RESULTS)}
    summary = FusedArchive(out.uri, chosen=chosen)
    videos = sorted(set().union(*done))
    with Progress(len(videos), "videos", "ensemble") as progress:
        for video in videos:
            name, _ = video
            pairs = zip(inputs, done, strict=True)
            if missing := [storage.uri for storage, keys in pairs if video not in keys]:
                row = VideoRow(name, "failed", "has no result in " + ", ".join(missing))
            else:
                result_keys = [keys[video] for keys in done]
                row = _fuse_video(name, result_keys, inputs, ledger, finished, config)
                summary.num_skipped += row.result in finished
            summary.rows.append(row)
            progress.update(1)
    about = {"fused": sorted(storage.uri for storage in inputs), "fusion": settings}
    ledger.write_manifest(about, summary.rows)
    return summary


def _fuse_video(
    name: str,
    keys: Sequence[str],
    inputs: Sequence[Storage],
    ledger: Ledger,
    finished: set[str],
    config: FusionConfig,
) -> VideoRow:
    """Fuses a video's results unless they are fused already; the row reports any failure."""
    # a key is a digest of video, model and settings; the order of the inputs does not matter
    result_key = f"{RESULTS}{json_digest([sorted(keys), ledger.run_digest])}.json"
    if result_key in finished:
        return VideoRow(name, "done", result=result_key)
    try:
        with ExitStack() as stack:
            pairs = zip(inputs, keys, strict=True)
            paths = [stack.enter_context(storage.as_file(key)) for storage, key in pairs]
            documents = [
                read_result_document(path, storage.as_file)
                for path, storage in zip(paths, inputs, strict=True)
            ]
            document = _fuse(documents, paths, config)
    except AnnotationError as error:
        return VideoRow(name, "failed", str(error))
    ledger.storage.write_once(result_key, json_bytes(document))
    return VideoRow(name, "done", result=result_key)


def _fuse(
    documents: Sequence[ResultDocument], paths: Sequence[Path], config: FusionConfig
) -> dict[str, Any]:
    """Fuses results of a video; raises AnnotationError if their videos or classes differ."""
    first = min(documents, key=lambda document: json_digest(document.info))
    for path, other in zip(paths[1:], documents[1:], strict=True):
        _check_same_video(documents[0], other, paths[0], path)
    size, num_frames = first.size, first.num_frames
    tracks = fuse_tracks([document.tracks for document in documents], size, num_frames, config)
    infos = [
        {name: value for name, value in document.info.items() if name not in _OF_THE_VIDEO}
        for document in documents
    ]
    info = {name: first.info[name] for name in _OF_THE_VIDEO if name in first.info} | {
        "fused": sorted(infos, key=json_digest),
        "fusion": config.model_dump(mode="json"),
    }
    result = VideoResult(*size, num_frames, tracks)
    return result_document(info, first.video, first.categories, result)


def _check_same_video(
    one: ResultDocument, other: ResultDocument, one_path: Path, other_path: Path
) -> None:
    values = {
        "video_version": (one.info.get("video_version"), other.info.get("video_version")),
        "length": (one.num_frames, other.num_frames),
        "size": (one.size, other.size),
        "categories": (one.categories, other.categories),
    }
    for name, (first, second) in values.items():
        if first != second:
            are_classes = name == "categories"
            expected, found = ("the same classes", "others") if are_classes else (first, second)
            raise AnnotationError(
                f'{other_path} "{name}": expected {expected} as in {one_path}, found {found}; '
                "give results of one video by models of the same classes"
            )
