"""What can be told about making clips: the motions of pseudo-videos, the augmentation of clips."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from vis_core.config.section import Section


class ClipSection(Section):
    """Is the base of every section here: frozen, and unknown keys are refused."""


class ShortSide(ClipSection):
    """Resizes so that the short side has one of several lengths; the aspect is kept."""

    name: Literal["short_side"] = "short_side"
    short_sides: tuple[PositiveInt, ...] = Field(
        default=(320, 352, 392, 416, 448, 480, 512, 544, 576, 608, 640),
        min_length=1,
        description="Pixels; one is drawn per clip. Released CTVIS; CTVIS 4.1 prints 320 to 640.",
    )
    max_long_side: PositiveInt = Field(
        default=768, description="Pixels; the long side never exceeds it (CTVIS 4.1)."
    )


class FixedSize(ClipSection):
    """Fits the picture into one size; the aspect is kept and the rest is 0."""

    name: Literal["fixed"] = "fixed"
    height: PositiveInt = Field(default=128, description="Pixels; our choice for CPU training.")
    width: PositiveInt = Field(default=192, description="Pixels; our choice for CPU training.")


class CropFraction(ClipSection):
    """Draws the sides of a crop as fractions of the picture's sides."""

    name: Literal["fraction"] = "fraction"
    min_fraction: float = Field(
        default=0.64,
        gt=0,
        le=1,
        description="Of a side; our choice, = 384 of 600 pixels in the release.",
    )
    max_fraction: float = Field(default=1.0, gt=0, le=1, description="Of a side; our choice.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_fraction > self.max_fraction:
            raise ValueError(
                f"min_fraction ({self.min_fraction}) must not exceed "
                f"max_fraction ({self.max_fraction})"
            )
        return self


class CropPixels(ClipSection):
    """Draws the sides of a crop in pixels, as the authors' release does."""

    name: Literal["pixels"] = "pixels"
    min_pixels: PositiveInt = Field(
        default=384, description="Pixels of a side (released CTVIS, IDOL)."
    )
    max_pixels: PositiveInt = Field(
        default=600, description="Pixels of a side (released CTVIS, IDOL)."
    )
    short_sides: tuple[PositiveInt, ...] = Field(
        default=(),
        description="Pixels; the picture counts as resized to one of these before the crop. Empty: "
        "its own size, as in the release for real videos; (400, 500, 600) for pseudo-videos.",
    )
    max_long_side: PositiveInt = Field(
        default=1333, description="Pixels, with short_sides (release)."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_pixels > self.max_pixels:
            raise ValueError(
                f"min_pixels ({self.min_pixels}) must not exceed max_pixels ({self.max_pixels})"
            )
        return self


OutputSize = Annotated[ShortSide | FixedSize, Field(discriminator="name")]
CropSize = Annotated[CropFraction | CropPixels, Field(discriminator="name")]


class ViewConfig(ClipSection):
    """Says how the view of a picture is drawn: crop, size and flip."""

    size: OutputSize = Field(default=ShortSide(), description="Pixels of the frames.")
    flip_probability: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Chance of a horizontal flip of the clip (released CTVIS).",
    )
    crop_probability: float = Field(
        default=0.5, ge=0, le=1, description="Chance that a clip is cropped (released CTVIS)."
    )
    crop_size: CropSize = Field(
        default=CropPixels(), description="How the sides of a crop are drawn."
    )
    min_visible_pixels: PositiveInt = Field(
        default=16,
        description="An instance that shows fewer pixels in a frame is absent there; our choice, "
        "one cell of the masks at stride 4.",
    )


class AugmentConfig(ViewConfig):
    """Says how real clips and still images are varied."""

    drawn_per_frame: Literal["nothing", "crop", "everything"] = Field(
        default="nothing",
        description="What each frame draws for itself, the rest once per clip. nothing: all share "
        "one view (released CTVIS); crop: the sides and place of a crop, whether there is one being"
        " drawn once (released IDOL on videos); everything: crop, size and flip.",
    )


class PairConfig(AugmentConfig):
    """Says how a still image becomes a key-reference pair of two views (2nd place 2022, 2.2)."""

    size: OutputSize = Field(
        default=ShortSide(max_long_side=1333),
        description="Pixels of a view; the long side up to 1333 (released IDOL, COCO).",
    )
    flip_probability: float = Field(
        default=0.5, ge=0, le=1, description="Chance that a view is flipped (released IDOL)."
    )
    crop_probability: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Chance that a view is cropped; 2.2 crops both views, released IDOL has 0.5.",
    )
    crop_size: CropSize = Field(
        default=CropPixels(short_sides=(400, 500, 600)),
        description="How the sides of a crop are drawn (released IDOL).",
    )
    drawn_per_frame: Literal["nothing", "crop", "everything"] = Field(
        default="everything",
        description="What each view draws for itself: everything, as 2.2 says independently; "
        "nothing makes two equal views (released IDOL, PRETRAIN_SAME_CROP).",
    )
    min_visible_pixels: PositiveInt = Field(
        default=1,
        description="An instance that shows fewer pixels in a view is absent there (released IDOL: "
        "any pixel counts).",
    )


class PseudoConfig(ViewConfig):
    """Says how a still image becomes a clip that moves (CTVIS 3.4)."""

    num_frames: PositiveInt = Field(
        default=8, description="T, frames of a clip (CTVIS 4.1: 8 for YouTube-VIS, 10 for OVIS)."
    )
    crop_size: CropSize = Field(
        default=CropFraction(),
        description="How the sides of the view are drawn. CTVIS 3.4 prints none; the release has "
        "{name: pixels, short_sides: [400, 500, 600]}.",
    )
    zoom_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Share of the cropped clips that zoom, the others shift. CTVIS 3.4 has both "
        "and prints no share (our choice); the release only shifts: 0.",
    )
    min_zoom: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Smallest over largest view of a zoom, of a side; our choice.",
    )
    rotation_probability: float = Field(
        default=1.0, ge=0, le=1, description="Chance that a clip rotates (released CTVIS: always)."
    )
    max_angle_deg: float = Field(
        default=15.0, ge=0, le=180, description="Degrees to both sides (CTVIS 3.4: [-15, 15])."
    )
    rotation_center_margin: float = Field(
        default=0.4,
        ge=0,
        le=0.5,
        description="Of a side; the centre lies in [margin, 1 - margin] (released CTVIS: 0.4).",
    )
    paste_probability: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Chance that instances of another image are pasted. CTVIS 3.4 prints none (our "
        "choice); the release does not paste: 0.",
    )
    max_pasted_instances: PositiveInt = Field(
        default=3, description="Most instances pasted into a clip; our choice."
    )
    min_paste_scale: float = Field(
        default=0.5,
        gt=0,
        description="Smallest size of a pasted instance over its size in its own image, both "
        "images fitted to the frame; our choice.",
    )
    max_paste_scale: float = Field(
        default=1.0,
        gt=0,
        description="Largest size of a pasted instance, see min_paste_scale; our choice.",
    )

    @model_validator(mode="after")
    def _ordered_scales(self) -> Self:
        if self.min_paste_scale > self.max_paste_scale:
            raise ValueError(
                f"min_paste_scale ({self.min_paste_scale}) must not exceed "
                f"max_paste_scale ({self.max_paste_scale})"
            )
        return self


class SceneSettings(Section):
    """Says how large and how crowded the scenes are."""

    height: int = Field(128, ge=32, description="Pixels of a frame; our choice for CPU training.")
    width: int = Field(192, ge=32, description="Pixels of a frame; our choice for CPU training.")
    min_objects: int = Field(2, ge=1, description="Fewest instances of a scene.")
    max_objects: int = Field(5, ge=1, description="Most instances of a scene.")
    lookalike_probability: float = Field(
        0.5, ge=0, le=1, description="Chance that an instance copies the look of the one before."
    )
