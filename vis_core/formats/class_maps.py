"""Maps from one class list to another: published maps, equal names and users' own.

A user's map is a small document::

    target: ytvis_2021          # the name of a published list, or a list of names
    unmapped: drop              # drop or refuse instances of classes not listed below
    classes:
      kitten: cat
      sofa: null                # dropped on purpose
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vis_core.errors import AnnotationError, ConfigError, shown
from vis_core.formats.categories import Categories, numbered
from vis_core.formats.coco import IGNORED, ImageRecord
from vis_core.formats.youtube_vis import VideoRecord

UNMAPPED = ("drop", "refuse")
# COCO's mouse belongs to a computer; YouTube-VIS's is an animal.
_OTHER_IN_COCO = "mouse"


@dataclass(frozen=True)
class ClassMap:
    """A map from source classes to target classes."""

    target: Categories
    names: Mapping[str, str | None]  # None: the class is dropped on purpose
    unmapped: str = "drop"  # "drop" drops the classes missing from names; "refuse" raises
    origin: str = ""  # what the map is, for messages: "equal names", a file

    def __post_init__(self) -> None:
        known = set(self.target.names)
        for source, target in self.names.items():
            if target is not None and target not in known:
                raise ConfigError(
                    f"classes.{source}: expected null or a class of the target list, found "
                    f"{shown(target)}; the list has {', '.join(self.target.names[:8])}, ..."
                )
        if self.unmapped not in UNMAPPED:
            raise ConfigError(
                f"unmapped: expected drop or refuse, found {shown(self.unmapped)}; choose one"
            )

    def target_labels(self, source: Categories) -> list[int | None]:
        """Returns the target label of each source label, or None if its instances are dropped.

        Raises AnnotationError if a class is not mapped and ``unmapped`` is ``refuse``.
        """
        index = {name: label for label, name in enumerate(self.target.names)}
        missing = [name for name in source.names if name not in self.names]
        if missing and self.unmapped == "refuse":
            raise AnnotationError(
                f"class map: expected an entry for each class, found none for {len(missing)}: "
                f"{', '.join(missing[:20])}; map them to a class or null, or set unmapped: drop"
            )
        targets = (self.names.get(name) for name in source.names)
        return [None if target is None else index[target] for target in targets]


def map_from_coco(target: str) -> ClassMap:
    """Returns the published map from COCO to ``ytvis_2019``, ``_2021``, ``_2022`` or ``ovis``."""
    if target not in FROM_COCO:
        raise ConfigError(
            f"class map: expected one of {', '.join(FROM_COCO)}, found {shown(target)}; choose one"
        )
    return map_between(CLASS_LISTS["coco"], CLASS_LISTS[target])


def published_list(source: Categories, target: Categories) -> str | None:
    """Returns the name of ``target`` if it is a public list and ``source`` is COCO's; else None."""
    if not _is_public(source, "coco"):
        return None
    return next((name for name in FROM_COCO if _is_public(target, name)), None)


def map_between(source: Categories, target: Categories) -> ClassMap:
    """Returns the published map if it exists (COCO to a public list), else a map of equal names."""
    name = published_list(source, target)
    if name is not None:
        names = {own: new for own, new in FROM_COCO[name].items() if new in target.names}
        return ClassMap(target, names, origin=f"the published map from COCO to {name}")
    same = {name: name for name in source.names if name in target.names}
    if _is_public(source, "coco") != _is_public(target, "coco"):
        same.pop(_OTHER_IN_COCO, None)
    return ClassMap(target, same, origin="equal names")


def parse_class_map(document: Any, where: str) -> ClassMap:
    """Reads a user's map from a parsed YAML document; ``where`` names the file in messages.

    Raises ConfigError if the document does not have the format in this module's docstring.
    """
    if not isinstance(document, dict) or set(document) - {"target", "unmapped", "classes"}:
        found = sorted(map(str, document)) if isinstance(document, dict) else document
        raise ConfigError(
            f"{where}: expected the keys target, classes and unmapped, found {shown(found)}; "
            "write target: <list>, classes: {name: target name or null}"
        )
    classes = document.get("classes")
    if not isinstance(classes, dict) or not all(
        isinstance(key, str) and (value is None or isinstance(value, str))
        for key, value in classes.items()
    ):
        raise ConfigError(
            f"{where}: classes: expected names and, for each, a name or null, found "
            f"{shown(classes)}; quote names that YAML reads as numbers"
        )
    try:
        target = _target(document.get("target"))
        return ClassMap(target, classes, document.get("unmapped", "drop"), origin=where)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def map_records(
    records: Sequence[ImageRecord],
    source: Categories,
    class_map: ClassMap,
    *,
    keep_ignored: bool = False,
) -> tuple[list[ImageRecord], dict[str, int]]:
    """Maps image labels; also returns the number of dropped instances per source class.

    With ``keep_ignored``, instances of dropped classes remain, with the label ``IGNORED``.
    """
    targets = class_map.target_labels(source)
    labels = [IGNORED if target is None else target for target in targets]
    mapped = []
    for record in records:
        kept = [
            (labels[label], segmentation)
            for label, segmentation in zip(record.labels, record.segmentations, strict=True)
            if keep_ignored or labels[label] != IGNORED
        ]
        rows = tuple(label for label, _ in kept), tuple(segmentation for _, segmentation in kept)
        mapped.append(replace(record, labels=rows[0], segmentations=rows[1]))
    counts = Counter(label for record in records for label in record.labels)
    names = enumerate(source.names)
    return mapped, {n: counts[i] for i, n in names if counts[i] and targets[i] is None}


def map_videos(
    videos: Sequence[VideoRecord], source: Categories, class_map: ClassMap
) -> tuple[list[VideoRecord], dict[str, int]]:
    """Maps the track labels of videos; also returns the number of dropped tracks per class."""
    targets = class_map.target_labels(source)
    mapped, dropped = [], dict.fromkeys(source.names, 0)
    for video in videos:
        tracks = []
        for track in video.tracks:
            label = targets[track.label]
            if label is None:
                dropped[source.names[track.label]] += 1
            else:
                tracks.append(replace(track, label=label))
        mapped.append(replace(video, tracks=tuple(tracks)))
    return mapped, {name: count for name, count in dropped.items() if count}


def _is_public(categories: Categories, name: str) -> bool:
    """Returns whether a list has a public list's names, or some of them with the public ids."""
    public = CLASS_LISTS[name]
    ids_and_names = set(zip(categories.ids, categories.names, strict=True))
    published = set(zip(public.ids, public.names, strict=True))
    return set(categories.names) == set(public.names) or set() < ids_and_names <= published


def _target(value: Any) -> Categories:
    if isinstance(value, str) and value in CLASS_LISTS:
        return CLASS_LISTS[value]
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        if len(set(value)) == len(value):
            return numbered(value)
        raise ConfigError("target: expected each name once, found one twice; remove it")
    raise ConfigError(
        f"target: expected a list of names or one of {', '.join(CLASS_LISTS)}, found "
        f"{shown(value)}; write the classes of the result"
    )


_COCO_UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)

_COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat",
    "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack",
    "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball",
    "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket",
    "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair",
    "couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote",
    "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book",
    "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip

_YTVIS_2019 = (
    "person", "giant_panda", "lizard", "parrot", "skateboard", "sedan", "ape", "dog", "snake",
    "monkey", "hand", "rabbit", "duck", "cat", "cow", "fish", "train", "horse", "turtle",
    "bear", "motorbike", "giraffe", "leopard", "fox", "deer", "owl", "surfboard", "airplane",
    "truck", "zebra", "tiger", "elephant", "snowboard", "boat", "shark", "mouse", "frog",
    "eagle", "earless_seal", "tennis_racket",
)  # fmt: skip

_YTVIS_2021 = (
    "airplane", "bear", "bird", "boat", "car", "cat", "cow", "deer", "dog", "duck",
    "earless_seal", "elephant", "fish", "flying_disc", "fox", "frog", "giant_panda", "giraffe",
    "horse", "leopard", "lizard", "monkey", "motorbike", "mouse", "parrot", "person", "rabbit",
    "shark", "skateboard", "snake", "snowboard", "squirrel", "surfboard", "tennis_racket",
    "tiger", "train", "truck", "turtle", "whale", "zebra",
)  # fmt: skip

_OVIS = (
    "Person", "Bird", "Cat", "Dog", "Horse", "Sheep", "Cow", "Elephant", "Bear", "Zebra",
    "Giraffe", "Poultry", "Giant_panda", "Lizard", "Parrot", "Monkey", "Rabbit", "Tiger",
    "Fish", "Turtle", "Bicycle", "Motorcycle", "Airplane", "Boat", "Vehical",
)  # fmt: skip

CLASS_LISTS: dict[str, Categories] = {
    "coco": Categories(tuple(i for i in range(1, 91) if i not in _COCO_UNUSED_IDS), _COCO),
    "ytvis_2019": numbered(_YTVIS_2019),
    "ytvis_2021": numbered(_YTVIS_2021),
    "ytvis_2022": numbered(_YTVIS_2021),  # adds long videos but no classes
    "ovis": numbered(_OVIS),
}

_COCO_TO_YTVIS_2019 = {
    "person": "person", "bicycle": "motorbike", "car": "sedan", "motorcycle": "motorbike",
    "airplane": "airplane", "train": "train", "truck": "truck", "boat": "boat", "cat": "cat",
    "dog": "dog", "horse": "horse", "cow": "cow", "elephant": "elephant", "bear": "bear",
    "zebra": "zebra", "giraffe": "giraffe", "skis": "snowboard", "snowboard": "snowboard",
    "skateboard": "skateboard", "surfboard": "surfboard", "tennis racket": "tennis_racket",
}  # fmt: skip

_COCO_TO_YTVIS_2021 = {
    "person": "person", "bicycle": "motorbike", "car": "car", "motorcycle": "motorbike",
    "airplane": "airplane", "train": "train", "truck": "truck", "boat": "boat", "bird": "bird",
    "cat": "cat", "dog": "dog", "horse": "horse", "cow": "cow", "elephant": "elephant", "bear":
    "bear", "zebra": "zebra", "giraffe": "giraffe", "frisbee": "flying_disc", "skis":
    "snowboard", "snowboard": "snowboard", "skateboard": "skateboard", "surfboard": "surfboard",
    "tennis racket": "tennis_racket",
}  # fmt: skip

_COCO_TO_OVIS = {
    "person": "Person", "bicycle": "Bicycle", "car": "Vehical", "motorcycle": "Motorcycle",
    "airplane": "Airplane", "bus": "Vehical", "truck": "Vehical", "boat": "Boat", "cat": "Cat",
    "dog": "Dog", "horse": "Horse", "sheep": "Sheep", "cow": "Cow", "elephant": "Elephant",
    "bear": "Bear", "zebra": "Zebra", "giraffe": "Giraffe",
}  # fmt: skip

FROM_COCO: dict[str, dict[str, str]] = {
    "ytvis_2019": _COCO_TO_YTVIS_2019,
    "ytvis_2021": _COCO_TO_YTVIS_2021,
    "ytvis_2022": _COCO_TO_YTVIS_2021,
    "ovis": _COCO_TO_OVIS,
}
