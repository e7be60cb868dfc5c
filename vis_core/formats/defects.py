"""Collection, uniform formatting and counting of a file's defects.

A reader adds errors and warnings while it checks a document and raises once at the end, so that a
user can correct all defects in one go. This module opens no files.
"""

import logging
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path

from vis_core.errors import AnnotationError, Found, shown

NONE = Found("none")
SHOWN_IN_MESSAGE = 20
KEPT = 10_000  # more defects suggest a wrong kind of file; further defects are only counted

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

    def error(self, where: str, *, expected: str, found: object, mend: str) -> bool:
        """Adds a defect that makes the file unusable; returns False, as a failed check does."""
        self.error_count += 1
        if len(self.errors) < KEPT:
            self.errors.append(Defect(where, expected, shown(found), mend))
        return False

    def warn(self, where: str, *, expected: str, found: object = NONE, mend: str) -> None:
        """Adds a defect that leaves the file usable."""
        self.warning_count += 1
        if len(self.warnings) < KEPT:
            self.warnings.append(Defect(where, expected, shown(found), mend))

    def finish(self) -> None:
        """Raises AnnotationError if there were errors, otherwise logs the warnings."""
        if self.error_count:
            raise AnnotationError(self._error_message())
        if self.warning_count:
            _log.warning("%s", self._message(self.warnings, self.warning_count, "warning"))

    def _error_message(self) -> str:
        message = self._message(self.errors, self.error_count, "error")
        room = SHOWN_IN_MESSAGE - min(self.error_count, SHOWN_IN_MESSAGE)
        if self.warning_count and room:
            shown_warnings = self.warnings[:room]
            message += "".join(f"\n  warning: {defect}" for defect in shown_warnings)
            if self.warning_count > len(shown_warnings):
                message += f"\n  ... and {self.warning_count - len(shown_warnings)} more warnings"
        return message

    def _message(self, defects: list[Defect], count: int, kind: str) -> str:
        """Formats one defect as a line, or several as a heading and the first 20, one per line."""
        if count == 1:
            return f"{self.file}: {defects[0]}"
        lines = [f"{self.file}: {count} {kind}s"]
        lines += [f"  {defect}" for defect in defects[:SHOWN_IN_MESSAGE]]
        if count > SHOWN_IN_MESSAGE:
            lines.append(f"  ... and {count - SHOWN_IN_MESSAGE} more")
        return "\n".join(lines)


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
