"""The base class of every section of settings.

Nothing in this folder imports torch or numpy: run files are parsed before heavy libraries load.
Each default lives here once, with its source. It is the paper's form; where the authors' release
differs, ``released()`` or a named choice has its form.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A section of settings: frozen after loading, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
