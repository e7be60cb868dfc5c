"""Views of a video: the same frames in another size, or mirrored (2nd place 3.1)."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vis_core.errors import ConfigError
from vis_core.inference.protocols import FrameSystem

_FLIP = "flip"


@dataclass(frozen=True)
class View:
    """Is how a system is shown a video.

    Attributes:
        short_side: Pixels at test, or None for the size of the system's config.
        flip: Whether left and right change places.
    """

    short_side: int | None = None
    flip: bool = False

    @classmethod
    def parse(cls, text: str) -> "View":
        """Reads ``640``, ``640+flip`` or ``flip``, which the schema has checked."""
        parts = text.split("+")
        return cls(int(parts[0]) if parts[0].isdigit() else None, _FLIP in parts)

    @classmethod
    def of(cls, names: Sequence[str]) -> "list[View]":
        """Reads the views of a config; without any, there is the model's own."""
        return [cls.parse(name) for name in names] or [cls()]

    def seen_by(self, system: FrameSystem) -> FrameSystem:
        """Gives the system with the test size of this view; it shares the weights.

        Raises:
            ConfigError: The system has no test size.
        """
        if self.short_side is None:
            return system
        config: Any = getattr(system, "config", None)
        if config is None:
            raise ConfigError(
                f"inference.views: {self.short_side} names a size, but this system has none"
            )
        resized: Any = copy.copy(system)
        resized.config = config.model_copy(update={"test_short_side": self.short_side})
        seen: FrameSystem = resized
        return seen
