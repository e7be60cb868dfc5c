"""A run's data set: the user's own files (``given_data.py``), or synthetic scenes.

Missing parts are derived: still images from videos, labelled videos from still images, and an
archive from validation videos.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pipelines.config.loading import digest
from pipelines.config.run import RunConfig
from pipelines.data.find_data import AnnotatedFiles, VideoFiles, find_archive, find_coco, find_vis
from pipelines.data.given_data import GivenData
from pipelines.data.synthetic import FPS, write_clips_as_videos, write_synthetic
from vis_core.clips.sources import PseudoClips
from vis_core.errors import ConfigError
from vis_core.files import whole_file, write_text
from vis_core.formats.categories import Categories
from vis_core.formats.coco import ImageRecord, read_coco, write_coco
from vis_core.formats.youtube_vis import VideoRecord, read_youtube_vis, write_youtube_vis
from vis_core.media.images import read_image
from vis_core.media.video_writer import write_video

# Without COCO data, one in this many frames of a labelled video serves as a still image.
_STILL_EVERY = 5
_HELD_OUT_IMAGES = 12
_MAX_PSEUDO_TRAIN = 24
_ARCHIVE_VIDEOS = 4


@dataclass(frozen=True)
class RunData:
    """A run's data set.

    Attributes:
        images: Still images for stage 1 and for pseudo-videos.
        archive: Folder of video files to annotate.
        categories: The run's classes; files with other classes are mapped by name.
        notes: Remarks on how missing data was replaced.
    """

    images: AnnotatedFiles
    videos: VideoFiles
    archive: Path
    categories: Categories
    notes: tuple[str, ...]


def prepare_data(
    given: GivenData,
    config: RunConfig,
    folder: Path,
    on_item: Callable[[int], None],
    max_frames: int | None = None,
) -> RunData:
    """Finds a run's data, or creates it below ``folder``.

    Args:
        on_item: Receives 1 for every scene or clip that is created.
        max_frames: Number of frames to annotate and score per labelled video; None means all.
    """
    if given.coco or given.vis:
        data = _user_data(given, config, folder, on_item)
    else:
        if not (folder / "synthetic").is_dir():
            write_synthetic(folder / "synthetic", config.synthetic, config.seed, on_item)
        data = _synthetic_data(folder / "synthetic", given)
    if config.supervision is not None:
        data = _few_frames(data, config.supervision.share, config.seed, folder / "few_frames")
    if max_frames is not None:
        data = _first_frames(data, folder / f"first_{max_frames}", max_frames)
    # read by users and by the report
    values = asdict(data) | {"categories": data.categories.to_json()}
    write_text(folder / "data.json", json.dumps(values, indent=2, default=str) + "\n")
    return data


def _first_frames(data: RunData, folder: Path, count: int) -> RunData:
    """Shortens the validation and test videos; training videos keep all frames."""
    shortened = {}
    for path in dict.fromkeys((data.videos.val, data.videos.test)):
        records, categories = read_youtube_vis(path)
        shortened[path] = folder / path.name
        short_records = [_shortened_record(record, count) for record in records]
        write_youtube_vis(shortened[path], short_records, categories)
    videos = replace(data.videos, val=shortened[data.videos.val], test=shortened[data.videos.test])
    note = f"scores are of the first {count} frames of each labelled video"
    return replace(data, videos=videos, notes=(*data.notes, note))


def _shortened_record(record: VideoRecord, count: int) -> VideoRecord:
    tracks = [
        replace(track, segmentations=track.segmentations[:count], areas=track.areas[:count])
        for track in record.tracks
        if any(track.segmentations[:count])
    ]
    return replace(record, file_names=record.file_names[:count], tracks=tuple(tracks))


def _synthetic_data(folder: Path, given: GivenData) -> RunData:
    vis = folder / "vis"
    images = AnnotatedFiles(folder / "coco" / "instances.json", folder / "coco" / "images")
    _, categories = read_coco(images.annotations, None)
    return RunData(
        images=images,
        videos=VideoFiles(
            vis / "train.json", vis / "val.json", vis / "test.json", vis / "JPEGImages"
        ),
        archive=find_archive(given.videos) if given.videos else folder / "videos",
        categories=categories,
        notes=("images and labelled videos are synthetic scenes",),
    )


def _user_data(
    given: GivenData, config: RunConfig, folder: Path, on_item: Callable[[int], None]
) -> RunData:
    notes = []
    images = find_coco(given.coco) if given.coco else None
    if given.vis:
        names = frozenset(read_coco(images.annotations, None)[1].names) if images else None
        videos = find_vis(given.vis, names)
        categories = read_youtube_vis(videos.train)[1]
        if videos.test == videos.val:
            notes.append("thresholds are chosen and scores measured on the same videos (val)")
        if images is None:
            images = _stills(videos, folder / "stills", lambda _, t: t % _STILL_EVERY == 0)
            notes.append(f"still images are every {_STILL_EVERY}th frame of the training videos")
    else:
        assert images is not None
        categories = read_coco(images.annotations, None)[1]
        images, videos = _pseudo_data(images, categories, config, folder, on_item)
        notes.append("labelled videos are pseudo-videos; the scores are of held-out images")
    if given.videos:
        archive = find_archive(given.videos)
    else:
        archive = _encode_archive(videos, folder / "archive")
        notes.append("the archive is the first validation videos, encoded as mp4")
    return RunData(images, videos, archive, categories, tuple(notes))


def _few_frames(data: RunData, share: float, seed: int, folder: Path) -> RunData:
    """Replaces the still images with a share of the training videos' frames (CTVIS 4.4)."""
    records, _ = read_youtube_vis(data.videos.train)
    places = [(v.video_id, t) for v in records for t in range(len(v.file_names))]
    count = max(1, round(share * len(places)))
    # ordered by a digest of each frame, so that larger shares contain smaller ones
    chosen = set(sorted(places, key=lambda place: digest(seed, *place))[:count])
    images = _stills(data.videos, folder, lambda video_id, t: (video_id, t) in chosen)
    note = f"still images are {count} of the {len(places)} frames of the training videos"
    return replace(data, images=images, notes=(*data.notes, note))


def _stills(
    videos: VideoFiles, folder: Path, is_chosen: Callable[[int, int], bool]
) -> AnnotatedFiles:
    """Writes a COCO file for some of the training videos' frames, without copying images."""
    records, categories = read_youtube_vis(videos.train)
    stills: list[ImageRecord] = []
    for video in records:
        for t in range(len(video.file_names)):
            if not is_chosen(video.video_id, t):
                continue
            visible = [
                track for track in video.tracks if track.segmentations[t] and not track.iscrowd
            ]
            stills.append(
                ImageRecord(
                    image_id=len(stills) + 1,
                    path=video.file_names[t],
                    height=video.height,
                    width=video.width,
                    labels=tuple(track.label for track in visible),
                    segmentations=tuple(s for track in visible if (s := track.segmentations[t])),
                )
            )
    write_coco(folder / "instances.json", stills, categories)
    return AnnotatedFiles(folder / "instances.json", videos.frames)


def _pseudo_data(
    images: AnnotatedFiles,
    categories: Categories,
    config: RunConfig,
    folder: Path,
    on_item: Callable[[int], None],
) -> tuple[AnnotatedFiles, VideoFiles]:
    """Creates labelled videos from still images, holding out the last images for scoring."""
    records = [r for r in read_coco(images.annotations, images.folder)[0] if r.labels]
    held_out = min(_HELD_OUT_IMAGES, len(records) // 3)
    if held_out == 0:
        raise ConfigError(
            f"{images.annotations}: {len(records)} images with instances; expected at least 3, or "
            "give labelled videos (--vis)"
        )
    rest, held_out_records = records[:-held_out], records[-held_out:]
    settings = config.pseudo.model_copy(update={"num_frames": config.synthetic.video_frames})
    vis = folder / "pseudo_vis"
    for part, chosen in (("train", rest[:_MAX_PSEUDO_TRAIN]), ("val", held_out_records)):
        source = PseudoClips(chosen, settings)
        clips = (source.clip(index, config.seed) for index in range(len(source)))
        write_clips_as_videos(vis, part, clips, categories, on_item)
    kept = [replace(r, path=str(Path(r.path).relative_to(images.folder))) for r in rest]
    write_coco(vis / "instances_rest.json", kept, categories)
    files = VideoFiles(vis / "train.json", vis / "val.json", vis / "val.json", vis / "JPEGImages")
    return AnnotatedFiles(vis / "instances_rest.json", images.folder), files


def _encode_archive(videos: VideoFiles, folder: Path) -> Path:
    """Encodes the first validation videos as an archive to annotate."""
    folder.mkdir(parents=True, exist_ok=True)
    for video in read_youtube_vis(videos.val)[0][:_ARCHIVE_VIDEOS]:
        path = folder / f"video_{video.video_id}.mp4"
        even = (slice(video.height // 2 * 2), slice(video.width // 2 * 2))
        images = (read_image(videos.frames / name)[even] for name in video.file_names)
        with whole_file(path) as partial:
            write_video(partial, images, FPS)
    return folder
