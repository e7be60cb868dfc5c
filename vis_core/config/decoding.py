"""Limits on the videos that are decoded."""

from pydantic import Field

from vis_core.config.section import Section


class DecodeLimits(Section):
    """What one video may ask of this machine."""

    max_pixels: int = Field(
        default=33_177_600,
        gt=0,
        description="Pixels of the largest frame that is decoded; 7680 x 4320, the 8K of broadcast."
        " A decoder holds about 16 such frames of 1.5 bytes a pixel.",
    )
    max_memory_mib: int = Field(
        default=4096,
        ge=64,
        description="Address space that the process that decodes may take beyond what it starts"
        " with. 8K of 8 bits takes about a third of it. Kept on Linux alone.",
    )
    frame_timeout_s: float = Field(
        default=60.0,
        gt=0,
        description="Seconds without a decoded frame after which a decoder is taken to hang: it is"
        " ended and the video fails.",
    )
