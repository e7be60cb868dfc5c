"""What layers can be told. Imports no torch: a run file is read early."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

BackboneName = Literal[
    "tiny",
    "resnet50",
    "resnet101",
    "resnet50_msra",
    "resnet101_msra",
    "swin_t",
    "swin_l",
    "convnext_l",
]


class OwnBackbone(BaseModel):
    """Is a backbone of other sizes than the published ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["resnet", "swin", "convnext"] = Field(description="Kind of network.")
    sizes: dict[str, int | float | str | list[int]] = Field(
        description="In the words of transformers' config of that family: depths, embed_dim, ..."
    )
