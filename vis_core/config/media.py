"""Limits on video decoding."""

from pydantic import Field, PositiveFloat

from vis_core.config.section import Section


class DecodeLimits(Section):
    """Limits on the resources that one video may use."""

    max_pixels: int = Field(
        33_177_600,
        gt=0,
        description="Maximum pixels per frame (8K). The decoder keeps about 16 frames in memory, "
        "at 1.5 bytes per pixel.",
    )
    max_memory_mib: int = Field(
        4096,
        ge=64,
        description="Address space in MiB that the decoder process may add to its initial size. "
        "An 8-bit 8K video needs about a third of the default. Linux only.",
    )
    frame_timeout_s: PositiveFloat = Field(
        60.0, description="Seconds without a frame after which the video fails."
    )
