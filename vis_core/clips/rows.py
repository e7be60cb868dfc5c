"""Clips as rows of a table: JPEG frames and RLE masks in plain Arrow types.

The columns contain no tensors or objects, so any Parquet reader can read the files. The classes
are in the schema's metadata, so each file defines its own category ids.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from vis_core.clips.transforms import pad_frames
from vis_core.errors import AnnotationError
from vis_core.formats.categories import Categories
from vis_core.formats.coco import IGNORED
from vis_core.media.images import decode_jpeg, encode_jpeg
from vis_core.rle.segmentation import decode_rles, encode_mask, encode_masks
from vis_core.structures import Clip

_INSTANCE = pa.struct(
    [
        ("track_id", pa.int32()),
        ("category_id", pa.int32()),  # -1: an ignored region
        ("rle", pa.list_(pa.binary())),  # T entries, null where absent
    ]
)
CLIP_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("image_id", pa.int64()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("frames", pa.list_(pa.binary())),
        ("instances", pa.list_(_INSTANCE)),
        ("error", pa.string()),  # the reason for a missing clip, else null
    ]
)


def schema_with_classes(categories: Categories) -> pa.Schema:
    """Returns the schema of a clip file, with its classes in the metadata."""
    return CLIP_SCHEMA.with_metadata({"categories": json.dumps(categories.to_json())})


def classes_of_schema(schema: pa.Schema, where: str) -> Categories:
    """Reads a file's classes from its schema; raises AnnotationError if it is not a clip file."""
    metadata = schema.metadata or {}
    if not schema.remove_metadata().equals(CLIP_SCHEMA) or b"categories" not in metadata:
        raise AnnotationError(
            f"{where}: expected the columns of pseudo-videos ({', '.join(CLIP_SCHEMA.names)}) and "
            f"their classes, found {', '.join(schema.names)}; make it again with longtake pseudo"
        )
    return Categories.from_json(json.loads(metadata[b"categories"]))


def clip_to_row(clip: Clip, image_id: int, categories: Categories) -> dict[str, Any]:
    """Packs a clip made from an image into a row of ``CLIP_SCHEMA``."""
    height, width = clip.images.shape[1:3]
    absent = encode_mask(np.zeros((height, width), bool))["counts"]
    encoded = encode_masks(clip.masks.reshape(-1, height, width))  # faster than a loop
    instances = []
    for row, label in enumerate(clip.labels):
        counts = [one["counts"] for one in encoded[row :: len(clip.labels)]]
        rle = [None if text == absent else text.encode("ascii") for text in counts]
        category_id = IGNORED if label == IGNORED else categories.id_of_index(int(label))
        instances.append({"track_id": row, "category_id": category_id, "rle": rle})
    return {
        "clip_id": clip.clip_id,
        "image_id": image_id,
        "height": height,
        "width": width,
        # Frames that are padded in the clip are stored without their padding.
        "frames": [
            encode_jpeg(image[:high, :wide])
            for image, (high, wide) in zip(clip.images, clip.frame_sizes, strict=True)
        ],
        "instances": instances,
        "error": None,
    }


def error_row(clip_id: str, image_id: int, error: str) -> dict[str, Any]:
    """Builds the row of a clip that could not be made."""
    empty: dict[str, Any] = {"height": 0, "width": 0, "frames": [], "instances": []}
    return {"clip_id": clip_id, "image_id": image_id, "error": error} | empty


def row_to_clip(row: Mapping[str, Any], categories: Categories) -> Clip:
    """Unpacks a row of ``CLIP_SCHEMA``; the images equal the packed ones up to JPEG compression.

    Raises:
        ImageError: A frame is damaged.
        AnnotationError: A mask is damaged or a category is unknown.
    """
    height, width, instances = row["height"], row["width"], row["instances"]
    frames = [decode_jpeg(data, f"clip {row['clip_id']}") for data in row["frames"]]
    images, sizes = pad_frames(frames, height, width)
    counts = [instance["rle"][t] for t in range(len(images)) for instance in instances]
    rles = [
        None if text is None else {"size": [height, width], "counts": text.decode("ascii")}
        for text in counts
    ]
    masks = decode_rles(rles, height, width).reshape(len(images), len(instances), height, width)
    ids = [instance["category_id"] for instance in instances]
    labels = [IGNORED if each == IGNORED else categories.index_of_id(each) for each in ids]
    return Clip(row["clip_id"], images, masks, np.array(labels, dtype=np.int64), sizes)
