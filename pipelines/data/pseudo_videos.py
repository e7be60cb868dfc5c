"""Makes pseudo-videos of COCO images with Ray Data and stores them as Parquet.

A clip is a function of (image, config, seed, replica). The clips are cut into shards of fixed
ranges, whatever the cluster; each shard is one file that appears whole, in a folder beside the
final one. When all are there the folder is renamed: a killed run goes on with the missing shards,
a finished folder is never touched.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipelines.config.loading import digest
from pipelines.data.pseudo_folder import (
    PseudoVideos,
    finished_folder,
    is_whole,
    publish_folder,
    settings_of,
)
from vis_core.clips.readers import with_instances
from vis_core.clips.sources import PseudoClips
from vis_core.config.clips import PseudoConfig
from vis_core.errors import VisError
from vis_core.formats.categories import Categories
from vis_core.formats.coco import ImageRecord

# Clips of one file and of one task: about 25 MB at the sizes of CTVIS, seconds of work.
CLIPS_PER_SHARD = 32
# Ray Data plans block by block; more of them only cost.
_MAX_BLOCKS = 1000


@dataclass(frozen=True)
class _Shard:
    start: int
    stop: int

    @property
    def name(self) -> str:
        return f"clips-{self.start:08d}-{self.stop:08d}.parquet"


@dataclass(frozen=True)
class _Recipe:
    """Is what a task must know besides the records; hashable, so that a process opens them once."""

    config: PseudoConfig
    clips_per_image: int
    seed: int
    categories: Categories
    folder: str


def num_pseudo_clips(records: Sequence[ImageRecord], clips_per_image: int) -> int:
    """Counts the clips that the images with instances will give."""
    return len(with_instances(records)) * clips_per_image


def find_pseudo_videos(
    records: Sequence[ImageRecord],
    categories: Categories,
    config: PseudoConfig,
    out: Path,
    seed: int,
    clips_per_image: int = 1,
) -> PseudoVideos | None:
    """Gives the finished pseudo-videos at ``out``, None if there are none; needs no Ray.

    Raises:
        ConfigError: ``out`` holds something else; the message names what differs.
    """
    kept = with_instances(records)
    return finished_folder(out, settings_of(kept, categories, config, seed, clips_per_image))


def generate_pseudo_videos(
    records: Sequence[ImageRecord],
    categories: Categories,
    config: PseudoConfig,
    out: Path,
    seed: int,
    clips_per_image: int = 1,
    on_progress: Callable[[int], object] = lambda clips: None,  # noqa: ARG005
    num_blocks: int | None = None,
) -> PseudoVideos:
    """Makes and stores the pseudo-videos of a set of images; needs a Ray session.

    Args:
        records: Images; those without instances are left out.
        categories: The classes of the records' labels.
        config: How a clip is made.
        out: The folder to be. A finished one of the same settings is left alone.
        seed: Every clip is a function of it, the image and the number among its clips.
        clips_per_image: Clips of each image.
        on_progress: Is told how many more clips are stored, first those of an earlier run.
        num_blocks: Parallelism; changes no clip. None means one block a shard.

    Raises:
        ConfigError: ``out`` holds something else; the message names what differs.
        ImageError: No clip at all could be made.
        StorageError: The disk refuses.
    """
    kept = with_instances(records)
    settings = settings_of(kept, categories, config, seed, clips_per_image)
    finished = finished_folder(out, settings)
    if finished is not None:
        on_progress(finished.num_clips + len(finished.failed))
        return finished
    partial = out.with_name(f".{out.name}-{digest(settings)}.part")
    partial.mkdir(parents=True, exist_ok=True)
    recipe = _Recipe(config, clips_per_image, seed, categories, str(partial.absolute()))
    shards = _shards(len(kept) * clips_per_image)
    pending = [shard for shard in shards if not is_whole(partial / shard.name)]
    on_progress(sum(s.stop - s.start for s in shards) - sum(s.stop - s.start for s in pending))
    for clips in _run_tasks(kept, recipe, pending, num_blocks):
        on_progress(clips)
    names = [shard.name for shard in shards]
    return publish_folder(partial, out, names, shards[-1].stop, settings)


def make_shard(source: PseudoClips, recipe: _Recipe, shard: _Shard) -> None:
    """Writes the clips of one range as one file, whole or not at all.

    A clip that cannot be made becomes a row that says why.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from vis_core.clips.rows import clip_to_row, error_row, schema_with_classes
    from vis_core.files import whole_file

    schema = schema_with_classes(recipe.categories)
    with (
        whole_file(Path(recipe.folder) / shard.name) as path,
        pq.ParquetWriter(path, schema, compression="zstd") as writer,
    ):
        for index in range(shard.start, shard.stop):
            image_id = source.record(index).image_id
            try:
                row = clip_to_row(source.clip(index, recipe.seed), image_id, recipe.categories)
            except VisError as error:
                row = error_row(source.clip_id(index, recipe.seed), image_id, str(error))
            # A row group a clip: reading one clip at random reads nothing else.
            writer.write_table(pa.Table.from_pylist([row], schema=schema))


def _run_tasks(
    records: list[ImageRecord], recipe: _Recipe, shards: list[_Shard], num_blocks: int | None
) -> Iterator[int]:
    """Makes shards with Ray Data and yields the number of clips of each as it is stored."""
    import ray
    from ray.exceptions import RayError

    if not shards:
        return
    rows = [asdict(shard) for shard in shards]
    blocks = min(len(rows), _MAX_BLOCKS if num_blocks is None else num_blocks)
    dataset = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
        _shard_task,
        batch_size=1,
        batch_format="pyarrow",
        fn_kwargs={"records": ray.put(records), "recipe": recipe},
    )
    try:
        for row in dataset.iter_rows():
            yield row["stop"] - row["start"]
    except (RayError, VisError) as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, VisError):
            raise cause from None
        raise


def _shard_task(batch: Any, records: Any, recipe: _Recipe) -> Any:
    """Makes the shards of one batch (one row) in a worker; the rows go back as they came."""
    import cv2

    cv2.setNumThreads(1)  # a task has one CPU
    source = _open_source(records, recipe)
    for row in batch.to_pylist():
        make_shard(source, recipe, _Shard(**row))
    return batch


@lru_cache(maxsize=1)
def _open_source(records: Any, recipe: _Recipe) -> PseudoClips:
    """Fetches the records once per process, not once per task."""
    import ray

    return PseudoClips(ray.get(records), recipe.config, recipe.clips_per_image)


def _shards(num_clips: int) -> list[_Shard]:
    starts = range(0, num_clips, CLIPS_PER_SHARD)
    return [_Shard(start, min(start + CLIPS_PER_SHARD, num_clips)) for start in starts]
