"""The base class of every settings section.

Nothing in this folder imports torch or numpy, so that run files can be parsed before heavy
libraries load. Each default is given once, with its source: the paper, if it gives a value. Where
the authors' release differs, ``released()`` or a named choice follows the release.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A settings section that is frozen after loading and rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
