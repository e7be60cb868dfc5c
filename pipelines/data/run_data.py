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
from pipelines.data.run_classes import ClassTable, find_class_map
from pipelines.data.synthetic import FPS, write_clips_as_videos, write_synthetic
from vis_core.clips.sources import PseudoClips
from vis_core.files import whole_file, write_text
from vis_core.formats.categories import Categories
from vis_core.formats.class_maps import ClassMap, map_between, map_records
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
        images: Still images for training and for pseudo-videos.
        archive: Folder of video files to annotate.
        categories: The run's classes, those of the videos.
        notes: Remarks on how missing data was replaced, and on classes that change.
        image_categories: Classes of the given COCO images; None without such images.
        class_map: Map from ``image_categories`` to ``categories``; None without such images.
    """

    images: AnnotatedFiles
    videos: VideoFiles
    archive: Path
    categories: Categories
    notes: tuple[str, ...]
    image_categories: Categories | None = None
    class_map: ClassMap | None = None

    def stage_categories(self, classes: str) -> Categories:
        """Returns the classes of a stage; its setting ``classes`` is "videos" or "images"."""
        own = self.image_categories if classes == "images" else None
        return own or self.categories

    def still_images(self, classes: str, left_out: str) -> list[ImageRecord]:
        """Reads a stage's still images; ``classes`` and ``left_out`` are run file settings."""
        files = self.images
        records, own = read_coco(files.annotations, files.folder, check_images=False)
        if classes == "images":
            return records
        class_map = self.class_map or map_between(own, self.categories)
        return map_records(records, own, class_map, keep_ignored=left_out == "ignore")[0]


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
    names = data.class_map and dict(data.class_map.names)
    values = asdict(data) | {"categories": data.categories.to_json(), "class_map": names}
    del values["image_categories"]
    values["videos"] = {key: path for key, path in values["videos"].items() if path}
    write_text(folder / "data.json", json.dumps(values, indent=2, default=str) + "\n")
    return data


def _first_frames(data: RunData, folder: Path, count: int) -> RunData:
    """Shortens the validation and test videos; training videos keep all frames."""
    shortened: dict[Path, Path] = {}
    for path in dict.fromkeys((data.videos.val, data.videos.test)):
        records, categories = read_youtube_vis(path)
        same_name = any(other.name == path.name for other in shortened)
        shortened[path] = folder / (f"test_{path.name}" if same_name else path.name)
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
    notes: list[str] = []
    images = find_coco(given.coco, given.images) if given.coco else None
    own = class_map = None
    if images:
        records, own = read_coco(images.annotations, images.folder, check_images=False)
    names = frozenset(own.names) if own else None
    videos = find_vis(given.vis, names, given.images) if given.vis else None
    categories = read_youtube_vis(videos.train)[1] if videos else None
    if images and own:
        class_map = find_class_map(given.class_map, images.annotations, own, categories)
        categories = class_map.target
        note = ClassTable.of(records, own, class_map).note(config.left_out)
        notes += [note] if note and config.supervision is None else []
    if videos:
        if videos.test == videos.val:
            notes.append("thresholds are chosen and scores measured on the same videos (val)")
        if images is None:
            images = _stills(videos, folder / "stills", lambda _, t: t % _STILL_EVERY == 0)
            notes.append(f"still images are every {_STILL_EVERY}th frame of the training videos")
    else:
        assert images and own and class_map
        images, videos = _pseudo_data(images, records, own, class_map, config, folder, on_item)
        notes.append("labelled videos are pseudo-videos; the scores are of held-out images")
    if given.videos:
        archive = find_archive(given.videos)
    else:
        archive = _encode_archive(videos, folder / "archive")
        notes.append("the archive is the first validation videos, encoded as mp4")
    assert categories is not None, "there are images or videos"
    return RunData(images, videos, archive, categories, tuple(notes), own, class_map)


def _few_frames(data: RunData, share: float, seed: int, folder: Path) -> RunData:
    """Replaces the still images with a share of the training videos' frames (CTVIS 4.4)."""
    records, _ = read_youtube_vis(data.videos.train)
    places = [(v.video_id, t) for v in records for t in range(len(v.file_names))]
    count = max(1, round(share * len(places)))
    # ordered by a digest of each frame, so that larger shares contain smaller ones
    chosen = set(sorted(places, key=lambda place: digest(seed, *place))[:count])
    images = _stills(data.videos, folder, lambda video_id, t: (video_id, t) in chosen)
    note = f"still images are {count} of the {len(places)} frames of the training videos"
    notes = (*data.notes, note)
    return replace(data, images=images, notes=notes, image_categories=None, class_map=None)


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
    records: list[ImageRecord],
    own: Categories,
    class_map: ClassMap,
    config: RunConfig,
    folder: Path,
    on_item: Callable[[int], None],
) -> tuple[AnnotatedFiles, VideoFiles]:
    """Creates labelled videos from still images, holding out the last images for scoring.

    The videos have the map's target classes; images that are not held out keep their own.
    """
    mapped = map_records(records, own, class_map)[0]
    usable = [index for index, record in enumerate(mapped) if record.labels]
    held_out = min(_HELD_OUT_IMAGES, len(usable) // 3)
    assert held_out, "check_given counted the images"
    rest, last = usable[:-held_out], usable[-held_out:]
    settings = config.pseudo.model_copy(update={"num_frames": config.synthetic.video_frames})
    vis = folder / "pseudo_vis"
    for part, chosen in (("train", rest[:_MAX_PSEUDO_TRAIN]), ("val", last)):
        source = PseudoClips([mapped[index] for index in chosen], settings)
        clips = (source.clip(index, config.seed) for index in range(len(source)))
        write_clips_as_videos(vis, part, clips, class_map.target, on_item)
    kept = [records[index] for index in rest]
    kept = [replace(r, path=str(Path(r.path).relative_to(images.folder))) for r in kept]
    write_coco(vis / "instances_rest.json", kept, own)
    files = VideoFiles(vis / "train.json", vis / "val.json", vis / "val.json", vis / "JPEGImages")
    return AnnotatedFiles(vis / "instances_rest.json", images.folder), files


def _encode_archive(videos: VideoFiles, folder: Path) -> Path:
    """Encodes the first validation videos as an archive to annotate."""
    folder.mkdir(parents=True, exist_ok=True)
    for video in read_youtube_vis(videos.val)[0][:_ARCHIVE_VIDEOS]:
        path = folder / f"video_{video.video_id}.mp4"
        even = (slice(video.height // 2 * 2), slice(video.width // 2 * 2))
        images = (
            read_image(videos.frames_of(videos.val) / name)[even] for name in video.file_names
        )
        with whole_file(path) as partial:
            write_video(partial, images, FPS)
    return folder
