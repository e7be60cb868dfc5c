"""Synthetic scenes in the formats of real data: COCO, YouTube-VIS and video files."""

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pipelines.config.run import SyntheticConfig
from vis_core.clips.scenes import CLASS_NAMES, render_scene
from vis_core.formats.categories import Categories
from vis_core.formats.coco import ImageRecord, write_coco
from vis_core.formats.youtube_vis import TrackRecord, VideoRecord, write_youtube_vis
from vis_core.media.images import encode_jpeg
from vis_core.media.video_writer import write_video
from vis_core.rle.segmentation import encode_mask
from vis_core.structures import Clip

CATEGORIES = Categories(tuple(range(1, len(CLASS_NAMES) + 1)), CLASS_NAMES)
FPS = 8
# Each part has its own seed range; no range overlaps with that of the start weights.
_PARTS = ("images", "train", "val", "test", "archive")
_SEEDS_PER_PART = 100_000

OnScene = Callable[[int], None]


def write_synthetic(folder: Path, config: SyntheticConfig, seed: int, on_scene: OnScene) -> None:
    """Writes ``coco/``, ``vis/`` and ``videos/`` below a new ``folder``, whole or not at all.

    The files depend only on config and seed. ``on_scene`` receives 1 for every scene.
    """
    temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    try:
        _write_images(temporary / "coco", config, seed, on_scene)
        for part, count in (
            ("train", config.train_videos),
            ("val", config.val_videos),
            ("test", config.test_videos),
        ):
            scenes = _scenes(part, count, config.video_frames, config, seed)
            write_clips_as_videos(temporary / "vis", part, scenes, CATEGORIES, on_scene)
        _write_archive(temporary / "videos", config, seed, on_scene)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def num_scenes(config: SyntheticConfig) -> int:
    """Returns the number of scenes that ``write_synthetic`` renders."""
    videos = config.train_videos + config.val_videos + config.test_videos
    return config.images + videos + config.archive_videos


def write_clips_as_videos(
    folder: Path,
    part: str,
    clips: Iterable[Clip],
    categories: Categories,
    on_clip: OnScene = lambda count: None,  # noqa: ARG005
) -> None:
    """Writes clips as a YouTube-VIS file ``<part>.json`` with frames in ``JPEGImages/``."""
    videos = []
    for index, clip in enumerate(clips):
        name = f"{part}_{index:04d}"
        videos.append(_write_frames(folder / "JPEGImages", name, index + 1, clip))
        on_clip(1)
    write_youtube_vis(folder / f"{part}.json", videos, categories)


def _scenes(
    part: str, count: int, num_frames: int, config: SyntheticConfig, seed: int
) -> Iterator[Clip]:
    first = (seed % 1000 * len(_PARTS) + _PARTS.index(part)) * _SEEDS_PER_PART
    for scene_seed in range(first, first + count):
        yield render_scene(config.scene, num_frames, scene_seed)


def _write_images(folder: Path, config: SyntheticConfig, seed: int, on_scene: OnScene) -> None:
    records = []
    (folder / "images").mkdir(parents=True)
    for index, clip in enumerate(_scenes("images", config.images, 1, config, seed)):
        name = f"{index + 1:012d}.jpg"
        (folder / "images" / name).write_bytes(encode_jpeg(clip.images[0]))
        visible = clip.present[0].nonzero()[0]
        records.append(
            ImageRecord(
                image_id=index + 1,
                path=name,
                height=config.scene.height,
                width=config.scene.width,
                labels=tuple(int(clip.labels[g]) for g in visible),
                segmentations=tuple(encode_mask(clip.masks[0, g]) for g in visible),
            )
        )
        on_scene(1)
    write_coco(folder / "instances.json", records, CATEGORIES)


def _write_frames(frames_folder: Path, name: str, video_id: int, clip: Clip) -> VideoRecord:
    """Writes one clip's frames and returns their annotations."""
    (frames_folder / name).mkdir(parents=True)
    names = tuple(f"{name}/{t:05d}.jpg" for t in range(len(clip)))
    for file_name, image in zip(names, clip.images, strict=True):
        (frames_folder / file_name).write_bytes(encode_jpeg(image))
    tracks = tuple(
        TrackRecord(
            annotation_id=video_id * 1000 + g,
            label=int(label),
            segmentations=tuple(
                encode_mask(clip.masks[t, g]) if clip.present[t, g] else None
                for t in range(len(clip))
            ),
            iscrowd=False,
        )
        for g, label in enumerate(clip.labels)
        if clip.present[:, g].any()
    )
    height, width = clip.images.shape[1:3]
    return VideoRecord(video_id, height, width, names, tracks)


def _write_archive(folder: Path, config: SyntheticConfig, seed: int, on_scene: OnScene) -> None:
    folder.mkdir(parents=True)
    scenes = _scenes("archive", config.archive_videos, config.video_frames, config, seed)
    for index, clip in enumerate(scenes):
        write_video(folder / f"scene_{index:02d}.mp4", iter(clip.images), FPS)
        on_scene(1)
