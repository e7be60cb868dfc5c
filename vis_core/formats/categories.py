"""Class lists: the category ids in files and the contiguous label indices used elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from vis_core.errors import AnnotationError, Found, forbidden_character, shown
from vis_core.formats.defects import Defects
from vis_core.formats.field_checks import entries_of


@dataclass(frozen=True)
class Categories:
    """An ordered list of K classes; label index ``i`` stands for category id ``ids[i]``."""

    ids: tuple[int, ...]  # as in the file, not necessarily contiguous
    names: tuple[str, ...]  # unique

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.names) == len(set(self.ids)) == len(set(self.names)):
            raise AnnotationError(
                f"categories: expected one name for each id, all different, found "
                f"{len(self.ids)} ids and {len(self.names)} names; correct the class list"
            )

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _index(self) -> dict[int, int]:
        return {category_id: index for index, category_id in enumerate(self.ids)}

    def index_of_id(self, category_id: int) -> int:
        """Returns the label index of a category id."""
        if category_id not in self._index:
            raise AnnotationError(
                f"category {category_id}: expected one of the {len(self)} ids of the class list; "
                f"correct the id or the class list"
            )
        return self._index[category_id]

    def id_of_index(self, index: int) -> int:
        """Returns the category id of a label index."""
        return self.ids[index]

    @property
    def unnamed(self) -> bool:
        """True for the placeholders of ``unnamed_categories``."""
        return len(self) > 0 and self.names == unnamed_categories(len(self)).names

    def to_json(self) -> list[dict[str, Any]]:
        """Returns the classes as the ``categories`` table of a file."""
        return [
            {"id": category_id, "name": name}
            for category_id, name in zip(self.ids, self.names, strict=True)
        ]

    @classmethod
    def from_json(cls, table: list[Any], defects: Defects | None = None) -> Self:
        """Reads the ``categories`` table of a file: objects with ``id`` and ``name``.

        Raises AnnotationError if an id or a name is missing or duplicate, and ``defects`` is None.
        """
        collected = Defects(Path("categories")) if defects is None else defects
        known: dict[str, int] = {}
        for where, entry in entries_of({"categories": table}, "categories", collected):
            name = entry.get("name")
            forbidden = forbidden_character(name) if isinstance(name, str) else None
            if not isinstance(name, str) or not name.strip() or forbidden:
                found = Found(f"{shown(name)} ({forbidden})") if forbidden else name
                mend = "write a name without control characters and line separators"
                collected.error(f'{where} "name"', expected="a name", found=found, mend=mend)
            elif name in known:
                found = Found(f"{shown(name)}, which id {known[name]} has too")
                mend = "give the two classes different names or merge them"
                collected.error(f'{where} "name"', expected="a unique name", found=found, mend=mend)
            else:
                known[name] = entry["id"]
        if defects is None:
            collected.finish()
        return cls(tuple(known.values()), tuple(known))


def numbered(names: Sequence[str]) -> Categories:
    """Returns categories with the ids 1, 2, 3, ... in the order of ``names``."""
    return Categories(tuple(range(1, len(names) + 1)), tuple(names))


def unnamed_categories(count: int) -> Categories:
    """Returns placeholders for the classes of a checkpoint that stores only their number."""
    return numbered([f"class {index + 1}" for index in range(count)])
