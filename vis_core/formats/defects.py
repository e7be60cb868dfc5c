"""Collection, uniform formatting and counting of a file's defects.

A reader adds errors and warnings while it checks a document and raises once at the end, so that a
user can correct all defects in one go. This module opens no files.
"""

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from vis_core.errors import AnnotationError, Found, shown

NONE = Found("none")
SHOWN_IN_MESSAGE = 20
KEPT = 10_000  # more defects suggest a wrong kind of file; further ones of a kind are counted
LISTED_OF_A_KIND = 3  # more defects of a kind become one line with a count
_OTHER_PLACES = 2  # named in that line
# what differs between defects of a kind: values in single quotes, and numbers
_VARIABLE = re.compile(r"'[^']*'|[0-9]+")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Defect:
    """One defect."""

    where: str  # JSON path with the entry's id: annotations[2] (id 12) "bbox"
    expected: str
    found: str
    mend: str  # an instruction for the user

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, found {self.found}; {self.mend}"

    @property
    def kind(self) -> str:
        """The defect without values and numbers: equal for one cause in the same field."""
        return _VARIABLE.sub("#", f"{self.where}: {self.expected}: {self.found}: {self.mend}")

    def to_json(self) -> dict[str, str]:
        """Returns the defect as a JSON object."""
        return asdict(self)


@dataclass
class Defects:
    """The defects of one file, in file order; the counts include defects that are not kept."""

    file: Path  # named in every message
    errors: list[Defect] = field(default_factory=list)  # make the file unusable
    warnings: list[Defect] = field(default_factory=list)  # dropped or doubtful content
    error_count: int = 0
    warning_count: int = 0
    kinds: Counter[str] = field(default_factory=Counter)  # defects of each kind

    def error(self, where: str, *, expected: str, found: object, mend: str) -> bool:
        """Adds a defect that makes the file unusable; returns False, as a failed check does."""
        self.error_count += 1
        self._keep(self.errors, Defect(where, expected, shown(found), mend))
        return False

    def warn(self, where: str, *, expected: str, found: object = NONE, mend: str) -> None:
        """Adds a defect that leaves the file usable."""
        self.warning_count += 1
        self._keep(self.warnings, Defect(where, expected, shown(found), mend))

    def _keep(self, kept: list[Defect], defect: Defect) -> None:
        self.kinds[defect.kind] += 1
        if len(kept) < KEPT or self.kinds[defect.kind] == 1:
            kept.append(defect)

    def lines(self, defects: list[Defect]) -> Iterator[tuple[str, int]]:
        """Yields the defects as lines, each with its number of defects; groups those of a kind."""
        by_kind: dict[str, list[Defect]] = {}
        for defect in defects:
            by_kind.setdefault(defect.kind, []).append(defect)
        for kind, (first, *others) in by_kind.items():
            count = self.kinds[kind]
            if count <= LISTED_OF_A_KIND:
                yield from ((str(defect), 1) for defect in (first, *others))
                continue
            # the entries of the others, each once
            places = list(dict.fromkeys(defect.where.split(' "')[0] for defect in others))
            named = ", ".join([*places[:_OTHER_PLACES], "..."][: _OTHER_PLACES + 1])
            yield f"{first} ({count - 1} more like it: {named})", count

    def finish(self) -> None:
        """Raises AnnotationError if there were errors, otherwise logs the warnings."""
        if self.error_count:
            raise AnnotationError(self._error_message())
        if self.warning_count:
            _log.warning("%s", self._message(self.warnings, self.warning_count, "warning"))

    def _error_message(self) -> str:
        message = self._message(self.errors, self.error_count, "error")
        lines = list(self.lines(self.warnings))
        room = SHOWN_IN_MESSAGE - sum(1 for _ in self.lines(self.errors))
        if lines and room > 0:
            message += "".join(f"\n  warning: {line}" for line, _ in lines[:room])
            if rest := sum(count for _, count in lines[room:]):
                message += f"\n  ... and {rest} more warnings"
        return message

    def _message(self, defects: list[Defect], count: int, kind: str) -> str:
        """Formats one line as it is, or several with a heading, at most 20 of them."""
        lines = list(self.lines(defects))
        if len(lines) == 1:
            return f"{self.file}: {lines[0][0]}"
        shown_lines = [f"{self.file}: {count} {kind}s"]
        shown_lines += [f"  {line}" for line, _ in lines[:SHOWN_IN_MESSAGE]]
        if rest := sum(count for _, count in lines[SHOWN_IN_MESSAGE:]):
            shown_lines.append(f"  ... and {rest} more")
        return "\n".join(shown_lines)


def only_crowds(crowds: int, total: int) -> str:
    """Returns a message if all of a file's annotations are crowd regions, else an empty string."""
    if not 0 < crowds == total:
        return ""
    return (
        f"{crowds} of {total} annotations are crowd regions and left out; CVAT writes iscrowd 1 "
        "for brush masks: write 0 if each is one thing"
    )


def warn_unscored(ids: Collection[int], crowds: int, defects: Defects) -> None:
    """Warns if all annotations are crowd regions, or an id 0 keeps one from being found."""
    text, _, mend = only_crowds(crowds, len(ids)).partition("; ")
    if text:
        defects.warn('"annotations"', expected="instances", found=Found(f"none: {text}"), mend=mend)
    if 0 in ids:
        mend = "annotation id 0 counts as never found, as in the reference evaluator; number from 1"
        defects.warn('annotation "id"', expected="ids from 1", found=0, mend=mend)
