"""The base class of every section of settings.

Nothing in this folder imports torch or numpy: run files are parsed before heavy libraries load.
"""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of settings: frozen after loading, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
