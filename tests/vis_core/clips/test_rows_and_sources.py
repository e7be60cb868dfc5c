"""Clips as rows and from sources: nothing lost but JPEG's loss, and one seed gives one clip."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.clips import disc_masks, still, textured_image
from vis_core.clips import sources
from vis_core.clips.collate import collate_clips
from vis_core.clips.readers import (
    first_instance_ids,
    read_still,
    read_video_frames,
    with_instances,
)
from vis_core.clips.rows import (
    CLIP_SCHEMA,
    classes_of_schema,
    clip_to_row,
    error_row,
    row_to_clip,
    schema_with_classes,
)
from vis_core.clips.sources import (
    ImageClips,
    MixedClips,
    PairClips,
    ParquetClips,
    PseudoClips,
    VideoClips,
)
from vis_core.config.clips import AugmentConfig, FixedSize, PairConfig, PseudoConfig, ShortSide
from vis_core.errors import AnnotationError, ImageError, StorageError, VisError
from vis_core.formats.categories import Categories
from vis_core.formats.coco import ImageRecord
from vis_core.formats.youtube_vis import TrackRecord, VideoRecord, read_youtube_vis
from vis_core.media.images import encode_jpeg
from vis_core.rle.segmentation import encode_masks
from vis_core.structures import Clip

CATEGORIES = Categories((3, 7, 90), ("cat", "dog", "cow"))
SMALL = PseudoConfig(size=FixedSize(height=48, width=64), num_frames=3)


def _record(folder, image_id, places=((40, 40, 18), (85, 50, 15)), height=90, width=120):
    path = folder / f"{image_id:06d}.jpg"
    path.write_bytes(encode_jpeg(textured_image(height, width, image_id)))
    masks = encode_masks(disc_masks(height, width, places))
    labels = tuple(range(len(places)))
    return ImageRecord(image_id, str(path), height, width, labels, tuple(masks))


def _clip(clip_id="one"):
    images = np.stack([textured_image(40, 56, seed) for seed in range(3)])
    masks = np.stack([disc_masks(40, 56, ((14 + 9 * t, 20, 9), (45, 12, 7))) for t in range(3)])
    masks[1, 0] = False
    return Clip(clip_id, images, masks, np.array([2, 0]))


def _same(first, second):
    return (
        first.clip_id == second.clip_id
        and np.array_equal(first.images, second.images)
        and np.array_equal(first.masks, second.masks)
        and np.array_equal(first.labels, second.labels)
    )


def test_a_clip_survives_its_row_but_for_the_loss_of_jpeg():
    clip = _clip()
    row = clip_to_row(clip, 5, CATEGORIES)
    table = pa.Table.from_pylist([row], schema=CLIP_SCHEMA)
    back = row_to_clip(table.to_pylist()[0], CATEGORIES)
    assert np.array_equal(back.masks, clip.masks) and back.labels.tolist() == [2, 0]
    assert np.abs(back.images.astype(int) - clip.images).mean() < 3
    assert back.clip_id == "one" and row["image_id"] == 5
    assert [i["category_id"] for i in row["instances"]] == [90, 3]
    assert row["instances"][0]["rle"][1] is None


def test_a_clip_without_instances_survives_its_row():
    clip = still(32, 32, ())
    table = pa.Table.from_pylist([clip_to_row(clip, 1, CATEGORIES)], schema=CLIP_SCHEMA)
    assert row_to_clip(table.to_pylist()[0], CATEGORIES).masks.shape == (1, 0, 32, 32)


def test_the_schema_of_a_file_names_its_classes():
    assert classes_of_schema(schema_with_classes(CATEGORIES), "a.parquet") == CATEGORIES
    for wrong in (CLIP_SCHEMA, pa.schema([("clip_id", pa.string())])):
        with pytest.raises(AnnotationError, match="a.parquet"):
            classes_of_schema(wrong, "a.parquet")


def test_a_damaged_frame_is_named():
    row = clip_to_row(_clip(), 5, CATEGORIES)
    row["frames"][1] = b"no picture"
    with pytest.raises(ImageError, match="clip one"):
        row_to_clip(row, CATEGORIES)


def test_a_record_is_read_in_stored_pixels(tmp_path):
    record = _record(tmp_path, 4)
    clip = read_still(record)
    assert np.array_equal(clip.masks[0], disc_masks(90, 120, ((40, 40, 18), (85, 50, 15))))
    assert clip.images.shape == (1, 90, 120, 3) and clip.labels.tolist() == [0, 1]


@pytest.mark.parametrize("content", [None, b"", b"not an image", "cut", "other size"])
def test_a_bad_image_is_an_error_that_names_it(tmp_path, content):
    record = _record(tmp_path, 4)
    path = tmp_path / "000004.jpg"
    data = path.read_bytes()
    if content is None:
        path.unlink()
    else:
        other = encode_jpeg(textured_image(60, 60))
        path.write_bytes({"cut": data[: len(data) // 2], "other size": other}.get(content, content))
    sources = (
        ImageClips([record], AugmentConfig()),
        PseudoClips([record], SMALL),
        PairClips([record], PairConfig()),
    )
    for source in sources:
        with pytest.raises(ImageError, match="000004.jpg"):
            source.clip(0, 0)


def test_images_without_instances_are_left_out_and_none_at_all_is_an_error(tmp_path):
    records = [_record(tmp_path, 1), _record(tmp_path, 2, ())]
    assert [record.image_id for record in with_instances(records)] == [1]
    assert len(ImageClips(records, AugmentConfig())) == 1
    assert len(PairClips(records, PairConfig())) == 1
    with pytest.raises(AnnotationError, match="none in 1 images"):
        PseudoClips(records[1:], SMALL)


def test_every_source_is_a_function_of_index_and_seed(tmp_path):
    records = [_record(tmp_path, image_id) for image_id in (1, 2, 3)]
    makers = [
        lambda: ImageClips(records, AugmentConfig(size=FixedSize(height=48, width=64))),
        lambda: PseudoClips(records, SMALL, clips_per_image=2),
        lambda: VideoClips(*_video(tmp_path), 3, 2, AugmentConfig()),
        lambda: VideoClips(*_video(tmp_path), 2, 10, AugmentConfig(drawn_per_frame="crop")),
        lambda: VideoClips(*_video(tmp_path), 2, 10, AugmentConfig(), by_frame=True),
        lambda: PairClips(records, PairConfig(size=ShortSide(short_sides=(48, 64)))),
    ]
    for make in makers:
        source = make()
        backwards = {i: make().clip(i, 5) for i in reversed(range(len(source)))}
        assert all(_same(source.clip(i, 5), backwards[i]) for i in range(len(source)))
        others = [source.clip(0, seed) for seed in range(6, 12)]
        assert any(not np.array_equal(c.images, backwards[0].images) for c in others)
        names = {c.clip_id for c in (*backwards.values(), *others)}
        assert len(names) == len(backwards) + len(others)


def test_pseudo_clips_make_several_clips_of_each_image(tmp_path):
    source = PseudoClips([_record(tmp_path, n) for n in (11, 12)], SMALL, clips_per_image=3)
    assert len(source) == 6
    assert [source.record(k).image_id for k in range(6)] == [11, 11, 11, 12, 12, 12]
    first, second = source.clip(0, 1), source.clip(1, 1)
    assert not np.array_equal(first.images, second.images)


def test_a_faulty_partner_pastes_nothing_and_spoils_no_clip(tmp_path, caplog):
    records = [_record(tmp_path, 1), _record(tmp_path, 2)]
    (tmp_path / "000002.jpg").write_bytes(b"broken")
    config = SMALL.model_copy(update={"paste_probability": 1.0})
    clip = PseudoClips(records, config).clip(0, 0)
    assert len(clip.labels) <= 2 and "000002.jpg" in caplog.text


def _video(folder, frames=6):
    (folder / "v").mkdir(exist_ok=True)
    names, masks = [], []
    for t in range(frames):
        names.append(f"v/{t:05d}.jpg")
        (folder / names[-1]).write_bytes(encode_jpeg(textured_image(64, 80, t)))
        masks.append(encode_masks(disc_masks(64, 80, ((10 + 10 * t, 30, 9), (60, 50, 8)))))
    tracks = [
        TrackRecord(1, 2, tuple(frame[0] for frame in masks), False),
        TrackRecord(2, 0, tuple(None if t < 3 else masks[t][1] for t in range(frames)), False),
        TrackRecord(3, 1, tuple(frame[1] for frame in masks), True),
    ]
    return [VideoRecord(9, 64, 80, tuple(names), tuple(tracks))], folder


def test_frames_of_a_video_keep_tracks_in_their_rows_and_leave_crowds_out(tmp_path):
    (video,), folder = _video(tmp_path)
    clip = read_video_frames(video, folder, [0, 4, 4], "x")
    assert clip.labels.tolist() == [2, 0]
    assert clip.present.tolist() == [[True, False], [True, True], [True, True]]
    assert np.array_equal(clip.images[1], clip.images[2])
    assert np.array_equal(clip.masks[0, 0], disc_masks(64, 80, ((10, 30, 9),))[0])


def test_videos_without_tracks_are_left_out_and_none_at_all_is_an_error(tmp_path):
    videos, folder = _video(tmp_path)
    empty = VideoRecord(10, 64, 80, videos[0].file_names, ())
    assert len(VideoClips([*videos, empty], folder, 2, 3, AugmentConfig())) == 1
    with pytest.raises(AnnotationError, match="none in 1 videos"):
        VideoClips([empty], folder, 2, 3, AugmentConfig())


def test_the_instances_of_all_videos_are_numbered_and_keep_their_numbers(tmp_path):
    (video,), folder = _video(tmp_path)
    videos = [video, replace(video, video_id=10), replace(video, video_id=11)]
    assert first_instance_ids(videos) == [0, 2, 4, 6]  # a crowd has no number
    never_cropped = AugmentConfig(crop_probability=0, size=FixedSize(height=64, width=80))
    source = VideoClips(videos, folder, 1, 1, never_cropped)
    seen = set()
    for seed in range(12):
        for index in range(3):
            clip = source.clip(index, seed)
            # of the two tracks, labelled 2 and 0, the second is absent in some frames
            expected = [2 * index + [2, 0].index(label) for label in clip.labels]
            assert clip.instance_ids.tolist() == expected
            seen |= set(expected)
    assert seen == set(range(6))
    unnumbered = replace(source.clip(0, 0), instance_ids=None)
    batch = collate_clips([source.clip(1, 0), unnumbered])
    assert batch.instance_ids[1].tolist() == [-1] * len(batch.labels[1])
    frame = batch.frame_targets()[0]
    assert frame.instance_ids.tolist() == batch.instance_ids[0][frame.instance_index].tolist()


@pytest.mark.parametrize(("reach", "clip_frames"), [(1, 2), (2, 3), (1000, 2)])
def test_by_frame_every_annotated_frame_is_a_key_frame_and_no_other_is_drawn(
    tmp_path, monkeypatch, reach, clip_frames
):
    (video,), folder = _video(tmp_path)
    shown = {1, 2, 4}
    seen, late, crowd = (
        replace(track, segmentations=tuple(s if t in kept else None for t, s in enumerate(masks)))
        for track, masks, kept in zip(
            video.tracks,
            (t.segmentations for t in video.tracks),
            ({1, 2}, {4}, {0, 5}),
            strict=True,
        )
    )
    drawn = []
    monkeypatch.setattr(
        sources, "read_video_frames", lambda *given: drawn.append(given[2]) or given[3]
    )
    monkeypatch.setattr(sources, "augment_clip", lambda clip, *_: clip)
    video = replace(video, tracks=(seen, late, crowd))
    source = VideoClips([video], folder, clip_frames, reach, AugmentConfig(), by_frame=True)
    names = {source.clip(i, seed) for i in range(len(source)) for seed in range(50)}
    assert len(source) == len(shown) and len(names) == 50 * len(shown)
    assert {frames[0] for frames in drawn} == shown
    references = {(key, other) for key, *others in drawn for other in others}
    near = {(k, o) for k in shown for o in shown if o != k and abs(o - k) <= reach}
    alone = {(k, k) for k in shown if all(k != key for key, _ in near)}
    assert references == near | alone


def _store(path, rows, categories=CATEGORIES, group=2):
    schema = schema_with_classes(categories)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=group)


def test_stored_clips_are_found_by_number_across_files_and_row_groups(tmp_path):
    rows = [clip_to_row(_clip(f"clip {n}"), n, CATEGORIES) for n in range(7)]
    rows[2] = error_row("clip 2", 2, "the image is cut")
    _store(tmp_path / "a.parquet", rows[:5])
    _store(tmp_path / "b.parquet", rows[5:])
    source = ParquetClips(tmp_path)
    order = np.random.default_rng(0).permutation(6)
    names = {int(index): source.clip(int(index), 0).clip_id for index in order}
    assert [names[i] for i in range(6)] == [f"clip {n}" for n in (0, 1, 3, 4, 5, 6)]
    assert source.categories == CATEGORIES
    assert _same(source.clip(0, 1), row_to_clip(rows[0], CATEGORIES))


def test_stored_clips_can_be_varied_by_the_seed(tmp_path):
    _store(tmp_path / "a.parquet", [clip_to_row(_clip(), 1, CATEGORIES)])
    augment = AugmentConfig(size=FixedSize(height=40, width=56), min_visible_pixels=1)
    source = ParquetClips(tmp_path, augment)
    assert _same(source.clip(0, 3), source.clip(0, 3))
    firsts = [source.clip(0, seed).images[0].tobytes() for seed in range(8)]
    assert len(set(firsts)) == 2  # as stored and flipped: the frames are too small to crop


def test_many_files_are_read_with_few_open(tmp_path):
    for n in range(40):
        _store(tmp_path / f"{n:02d}.parquet", [clip_to_row(_clip(f"c{n}"), n, CATEGORIES)])
    source = ParquetClips(tmp_path)
    assert [source.clip(n, 0).clip_id for n in range(40)] == [f"c{n}" for n in range(40)]
    assert len(source._open) <= 32


def _no_files(folder):
    folder.mkdir(exist_ok=True)


def _cut_file(folder):
    _store(folder / "a.parquet", [clip_to_row(_clip(), 1, CATEGORIES)])
    data = (folder / "a.parquet").read_bytes()
    (folder / "a.parquet").write_bytes(data[: len(data) // 2])


def _foreign_file(folder):
    pq.write_table(pa.table({"x": [1]}), folder / "a.parquet")


def _other_classes(folder):
    _store(folder / "a.parquet", [clip_to_row(_clip(), 1, CATEGORIES)])
    others = Categories((1, 2, 3), ("a", "b", "c"))
    _store(folder / "b.parquet", [clip_to_row(_clip(), 1, others)], others)


def _only_errors(folder):
    _store(folder / "a.parquet", [error_row("clip", 1, "no image")])


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (_no_files, StorageError),
        (_cut_file, StorageError),
        (_foreign_file, AnnotationError),
        (_other_classes, AnnotationError),
        (_only_errors, AnnotationError),
    ],
)
def test_a_folder_that_is_no_store_of_clips_is_refused(tmp_path, spoil, error):
    spoil(tmp_path)
    with pytest.raises(error, match=str(tmp_path)) as raised:
        ParquetClips(tmp_path)
    assert isinstance(raised.value, VisError) and "\n" not in str(raised.value)


@pytest.mark.data
def test_clips_of_the_labelled_real_videos_have_the_asked_length(data_dir):
    path = data_dir / "vis_mini" / "instances_train_agnostic.json"
    videos, _ = read_youtube_vis(path)
    source = VideoClips(videos, path.parent / "JPEGImages", 3, 5, AugmentConfig())
    for index in range(0, len(source), max(1, len(source) // 4)):
        clip = source.clip(index, 1)
        assert len(clip) == 3 and clip.present.any(axis=0).all()


class Numbered:
    """A source whose clips carry their own position."""

    def __init__(self, name: str, count: int) -> None:
        self.name, self.count = name, count

    def __len__(self) -> int:
        return self.count

    def clip(self, index: int, seed: int) -> Clip:
        assert 0 <= index < self.count
        images = np.zeros((1, 2, 2, 3), np.uint8)
        name = f"{self.name}:{index}:{seed}"
        return Clip(name, images, np.zeros((1, 0, 2, 2), bool), np.zeros(0, np.int64))


def test_a_mixed_clip_comes_from_either_source_by_its_seed() -> None:
    mixed = MixedClips(Numbered("first", 5), Numbered("second", 900), share=0.4)
    assert len(mixed) == 905
    names = [mixed.clip(0, seed).clip_id for seed in range(4000)]
    share = sum(name.startswith("first") for name in names) / len(names)
    assert share == pytest.approx(0.4, abs=0.03)
    assert names == [mixed.clip(17, seed).clip_id for seed in range(4000)]  # the seed alone decides
    assert {name.split(":")[1] for name in names if name.startswith("first")} == set("01234")
