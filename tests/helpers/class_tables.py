"""The same labelled videos under other class tables: rows, ids, names and their number change."""

import copy
import random
from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]


def equal_tables(truth: Document) -> Iterator[tuple[str, Document]]:
    """Yields the same ground truth with other rows, ids and unused classes."""
    names = [row["name"] for row in truth["categories"]]
    ids = [row["id"] for row in truth["categories"]]
    draw = random.Random(3)
    yield "rows reversed", with_table(truth, names[::-1])
    for number in range(3):
        yield f"rows drawn {number}", with_table(truth, draw.sample(names, len(names)))
    yield "ids from 0", renumbered(truth, range(len(ids)))
    yield "ids with holes", renumbered(truth, [7 + 90 * place for place in range(len(ids))])
    yield "ids exchanged", renumbered(truth, ids[1:] + ids[:1])
    yield "ids reversed", renumbered(truth, ids[::-1])
    yield (
        "rows and ids drawn",
        renumbered(
            with_table(truth, draw.sample(names, len(names))), draw.sample(range(900), len(ids))
        ),
    )
    yield "one more class first", with_table(truth, ["zeppelin", *names])
    yield "one more class last", with_table(truth, [*names, "zeppelin"])
    used = {row["category_id"] for row in truth["annotations"]}
    kept = [row["name"] for row in truth["categories"] if row["id"] in used]
    yield "only used classes", with_table(truth, kept)
    yield "only used classes, reversed", with_table(truth, kept[::-1])


def with_table(truth: Document, names: list[str]) -> Document:
    """Returns the document with these classes, in this order; new ones get new ids."""
    known = {row["name"]: row["id"] for row in truth["categories"]}
    new = iter(range(max(known.values()) + 1, 10_000))
    rows = [{"id": known[n] if n in known else next(new), "name": n} for n in names]
    return copy.deepcopy(truth) | {"categories": rows}


def renumbered(truth: Document, ids: Any) -> Document:
    """Returns the document with other category ids, in the order of the table."""
    changed = copy.deepcopy(truth)
    new = {row["id"]: number for row, number in zip(truth["categories"], ids, strict=True)}
    for row in changed["categories"]:
        row["id"] = new[row["id"]]
    for row in changed["annotations"]:
        row["category_id"] = new[row["category_id"]]
    return changed


def renamed(truth: Document, names: dict[str, str]) -> Document:
    """Returns the document with other class names."""
    changed = copy.deepcopy(truth)
    for row in changed["categories"]:
        row["name"] = names.get(row["name"], row["name"])
    return changed


def without(truth: Document, name: str) -> Document:
    """Returns the document without a class and its annotations."""
    (gone,) = [row["id"] for row in truth["categories"] if row["name"] == name]
    kept = [row for row in truth["annotations"] if row["category_id"] != gone]
    rows = [row for row in truth["categories"] if row["name"] != name]
    return copy.deepcopy(truth) | {"categories": rows, "annotations": kept}
