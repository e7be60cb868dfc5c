"""Limits on the videos that are decoded."""

from pydantic import Field

from vis_core.config.section import Section


class DecodeLimits(Section):
    """Limits on the resources that one video may use."""

    max_pixels: int = Field(
        default=33_177_600,
        gt=0,
        description="Maximum pixels of a frame; the default is 8K, 7680 x 4320. A decoder holds"
        " about 16 such frames of 1.5 bytes per pixel.",
    )
    max_memory_mib: int = Field(
        default=4096,
        ge=64,
        description="Address space that the decoder process may use beyond its size at start, in"
        " MiB. 8-bit 8K uses about a third of the default. Enforced on Linux only.",
    )
    frame_timeout_s: float = Field(
        default=60.0,
        gt=0,
        description="Seconds without a decoded frame after which the decoder is ended and the video"
        " fails.",
    )
