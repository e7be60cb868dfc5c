"""Settings for training clips: augmentation, pairs of views, pseudo-videos, synthetic scenes."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from vis_core.config.section import Count, PositiveShare, Section, Share


def _check_order(section: Section, low: str, high: str) -> None:
    """Raises ValueError if the setting ``low`` exceeds the setting ``high``."""
    smaller, larger = getattr(section, low), getattr(section, high)
    if smaller > larger:
        raise ValueError(f"{low} ({smaller}) must not exceed {high} ({larger})")


class ShortSide(Section):
    """An output size with one of several short sides, keeping the aspect ratio."""

    name: Literal["short_side"] = "short_side"
    short_sides: tuple[PositiveInt, ...] = Field(
        (320, 352, 392, 416, 448, 480, 512, 544, 576, 608, 640),
        min_length=1,
        description="Short sides in pixels; each clip draws one (CTVIS release; CTVIS 4.1: 320 to "
        "640).",
    )
    max_long_side: PositiveInt = Field(768, description="Maximum long side in pixels (CTVIS 4.1).")


class FixedSize(Section):
    """A fixed output size; the aspect ratio is kept, and the rest of the frame is 0."""

    name: Literal["fixed"] = "fixed"
    height: PositiveInt = Field(128, description="Height in pixels; our choice for CPU training.")
    width: PositiveInt = Field(192, description="Width in pixels; our choice for CPU training.")


class CropFraction(Section):
    """Crop sides as fractions of the image sides."""

    name: Literal["fraction"] = "fraction"
    min_fraction: PositiveShare = Field(
        0.64, description="Minimum fraction; our choice, after the release's 384 of 600 pixels."
    )
    max_fraction: PositiveShare = Field(1.0, description="Maximum fraction; our choice.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self, "min_fraction", "max_fraction")
        return self


class CropPixels(Section):
    """Crop sides in pixels, as in the authors' release."""

    name: Literal["pixels"] = "pixels"
    min_pixels: PositiveInt = Field(
        384, description="Minimum side in pixels (CTVIS and IDOL releases)."
    )
    max_pixels: PositiveInt = Field(
        600, description="Maximum side in pixels (CTVIS and IDOL releases)."
    )
    short_sides: tuple[PositiveInt, ...] = Field(
        (),
        description="Short sides in pixels; the image is resized to one of them before the crop. "
        "Empty: no resize. Releases: empty on real videos, (400, 500, 600) on pseudo-videos.",
    )
    max_long_side: PositiveInt = Field(
        1333, description="Maximum long side in pixels, used with short_sides (releases)."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self, "min_pixels", "max_pixels")
        return self


OutputSize = Annotated[ShortSide | FixedSize, Field(discriminator="name")]
CropSize = Annotated[CropFraction | CropPixels, Field(discriminator="name")]


class ViewConfig(Section):
    """A random view of an image: crop, size and flip."""

    size: OutputSize = Field(ShortSide(), description="Frame size.")
    flip_probability: Share = Field(
        0.5, description="Chance that a clip is flipped horizontally (CTVIS release)."
    )
    crop_probability: Share = Field(
        0.5, description="Chance that a clip is cropped (CTVIS release)."
    )
    crop_size: CropSize = Field(CropPixels(), description="How crop sides are drawn.")
    min_visible_pixels: PositiveInt = Field(
        16,
        description="An instance with fewer visible pixels than this is absent from a frame; our "
        "choice: one mask cell.",
    )


class AugmentConfig(ViewConfig):
    """Augmentation of real clips and still images."""

    drawn_per_frame: Literal["nothing", "crop", "everything"] = Field(
        "nothing",
        description="Choices drawn for each frame instead of once per clip. nothing: CTVIS "
        "release; crop: sides and position (IDOL release on videos); everything: crop, size, flip.",
    )


class PairConfig(AugmentConfig):
    """A key-reference pair as two views of a still image (2nd place 2022, 2.2)."""

    size: OutputSize = Field(
        ShortSide(max_long_side=1333),
        description="View size; the long side is at most 1333 pixels (IDOL release on COCO).",
    )
    flip_probability: Share = Field(
        0.5, description="Chance that a view is flipped (IDOL release)."
    )
    crop_probability: Share = Field(
        1.0, description="Chance that a view is cropped (2nd place 2.2: 1; IDOL release: 0.5)."
    )
    crop_size: CropSize = Field(
        CropPixels(short_sides=(400, 500, 600)),
        description="How crop sides are drawn (IDOL release).",
    )
    drawn_per_frame: Literal["nothing", "crop", "everything"] = Field(
        "everything",
        description="Choices drawn for each view. everything: independent views (2nd place 2.2); "
        "nothing: two equal views (IDOL release).",
    )
    min_visible_pixels: PositiveInt = Field(
        1,
        description="An instance with fewer visible pixels than this is absent from a view (IDOL "
        "release).",
    )


class PseudoConfig(ViewConfig):
    """Pseudo-videos made from still images (CTVIS 3.4)."""

    num_frames: PositiveInt = Field(
        8, description="T, frames per clip (CTVIS 4.1: 8 for YouTube-VIS, 10 for OVIS)."
    )
    crop_size: CropSize = Field(
        CropFraction(),
        description="How view sides are drawn; CTVIS 3.4 does not specify it. Release: {name: "
        "pixels, short_sides: [400, 500, 600]}.",
    )
    zoom_share: Share = Field(
        0.5,
        description="Share of cropped clips that zoom; the other cropped clips shift. Our choice: "
        "CTVIS 3.4 gives no value; in the release, all of them shift (0).",
    )
    min_zoom: PositiveShare = Field(
        0.5, description="Minimum side ratio of the smallest view to the largest view; our choice."
    )
    rotation_probability: Share = Field(
        1.0, description="Chance that a clip rotates (CTVIS release: always)."
    )
    max_angle_deg: float = Field(
        15.0,
        ge=0,
        le=180,
        description="Maximum rotation in degrees, either way (CTVIS 3.4: [-15, 15]).",
    )
    rotation_center_margin: float = Field(
        0.4,
        ge=0,
        le=0.5,
        description="The rotation centre is in [margin, 1 - margin] of the width and of the height "
        "(CTVIS release: 0.4).",
    )
    paste_probability: Share = Field(
        0.5,
        description="Chance that instances from another image are pasted. Our choice: CTVIS 3.4 "
        "gives no value; the release does not paste (0).",
    )
    max_pasted_instances: PositiveInt = Field(
        3, description="Maximum number of instances pasted into a clip; our choice."
    )
    min_paste_scale: PositiveFloat = Field(
        0.5,
        description="Minimum scale of a pasted instance; at scale 1, its whole image would just "
        "fit into the frame. Our choice.",
    )
    max_paste_scale: PositiveFloat = Field(
        1.0, description="Maximum scale of a pasted instance; our choice."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self, "min_paste_scale", "max_paste_scale")
        return self


class SceneSettings(Section):
    """Size and content of synthetic scenes."""

    height: int = Field(128, ge=32, description="Height in pixels; our choice for CPU training.")
    width: int = Field(192, ge=32, description="Width in pixels; our choice for CPU training.")
    min_objects: Count = Field(2, description="Minimum number of instances in a scene.")
    max_objects: Count = Field(5, description="Maximum number of instances in a scene.")
    lookalike_probability: Share = Field(
        0.5, description="Chance that an instance looks like the previous one."
    )
