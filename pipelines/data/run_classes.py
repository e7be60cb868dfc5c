"""The classes of a run: the still images' classes, those of the videos, and the map between them.

This module must not import torch, because options are checked before torch loads.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.data.convert_classes import read_class_map
from vis_core.errors import AnnotationError, ConfigError, shown
from vis_core.formats.categories import Categories
from vis_core.formats.class_maps import ClassMap, map_between
from vis_core.formats.coco import ImageRecord

FATE = {"background": "background", "ignore": "ignored regions"}  # by the setting left_out
_IN_NOTE = 5  # classes that a note lists; the plan of --dry-run lists all


def find_class_map(
    given: Path | None, images: Path, source: Categories, target: Categories | None
) -> ClassMap:
    """Returns the map from the still images' classes to the videos' or to those in ``given``.

    Args:
        given: A user's map or the name of a public list; None means the published map if there
            is one, otherwise a map between equal names.
        images: The annotation file of the still images, for messages.
        target: Classes of the videos; None without videos.

    Raises:
        ConfigError: The user's map is faulty, or its target classes are not those of the videos.
        AnnotationError: No class of the still images is mapped.
    """
    if given is None:
        class_map = map_between(source, source if target is None else target)
    else:
        class_map = read_class_map(str(given))
        if target is not None:
            if set(class_map.target.names) != set(target.names):
                raise ConfigError(
                    f"{given}: target: expected the classes of --vis, {shown(list(target.names))}, "
                    f"found {shown(list(class_map.target.names))}; correct the list"
                )
            class_map = replace(class_map, target=target)
    if all(label is None for label in class_map.target_labels(source)):
        raise AnnotationError(
            f"{images}: expected a class of the videos, {shown(list(class_map.target.names[:8]))}, "
            f"found only {shown(list(source.names[:8]))} (by {class_map.origin}); write a map of "
            "the classes and give it to longtake train or longtake convert as --class-map"
        )
    return class_map


@dataclass(frozen=True)
class ClassTable:
    """The classes of a run's still images, their annotation counts and target classes."""

    source: Categories
    class_map: ClassMap
    counts: Counter[int]  # number of annotations by label of ``source``

    @classmethod
    def of(
        cls, records: Sequence[ImageRecord], source: Categories, class_map: ClassMap
    ) -> "ClassTable":
        """Builds the table from the images' annotations, whose labels are those of ``source``."""
        return cls(source, class_map, Counter(label for r in records for label in r.labels))

    def describe(self, left_out: str) -> list[str]:
        """Returns the plan's lines about all image classes, and about video classes without images.

        ``left_out`` is the run's setting of this name.
        """
        kept, renamed, lost = self._groups()
        target = self.class_map.target
        reached = set(self.class_map.target_labels(self.source))
        without = [name for label, name in enumerate(target.names) if label not in reached]
        sizes = f"{len(self.source)} of the images, {len(target)} of the videos"
        return [
            f"classes     {sizes}, by {self.class_map.origin}",
            f"  kept      {_listed(kept)}",
            f"  renamed   {_listed(renamed)}",
            f"  left out  {_listed(lost)}" + (f"; they are {FATE[left_out]}" if lost else ""),
            f"  no images {', '.join(without) or 'nothing'}",
        ]

    def note(self, left_out: str) -> str | None:
        """Returns a sentence about renamed and left-out classes; None if there are none."""
        kept, renamed, lost = self._groups()
        if not renamed and not lost:
            return None
        some = sorted(lost, key=lambda pair: (-pair[1], pair[0]))[:_IN_NOTE]
        more = f" ({_listed(some)}{', ...' if len(lost) > len(some) else ''})" if lost else ""
        return (
            f"classes of still images become those of the videos by {self.class_map.origin}: "
            f"{len(kept)} kept, {len(renamed)} renamed, {len(lost)} left out with "
            f"{sum(count for _, count in lost):,} of {self.counts.total():,} annotations{more}, "
            f"which are {FATE[left_out]}"
        )

    def _groups(self) -> tuple[list[tuple[str, int]], ...]:
        """Returns the kept, renamed and left-out classes, each with its number of annotations."""
        groups: tuple[list[tuple[str, int]], ...] = ([], [], [])
        names = self.class_map.target.names
        for label, target in enumerate(self.class_map.target_labels(self.source)):
            name, count = self.source.names[label], self.counts[label]
            if target is None:
                groups[2].append((name, count))
            elif names[target] == name:
                groups[0].append((name, count))
            else:
                groups[1].append((f"{name} -> {names[target]}", count))
        return groups


def _listed(classes: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in classes) or "nothing"
