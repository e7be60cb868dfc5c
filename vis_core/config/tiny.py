"""The system of the shipped start weights, small enough for a laptop's CPU."""

from vis_core.config.segmentors import Mask2FormerSettings
from vis_core.config.systems import MinvisConfig


def tiny_minvis() -> MinvisConfig:
    """Returns the settings of a MinVIS with about one million weights (our choice)."""
    return MinvisConfig(
        segmentor=Mask2FormerSettings(
            backbone="tiny",
            num_queries=20,
            hidden_width=64,
            num_heads=4,
            encoder_layers=2,
            encoder_ffn_width=128,
            decoder_layers=3,
            decoder_ffn_width=192,
            num_points=768,
            train_batch_norm=True,
        ),
        test_short_side=128,
        test_max_long_side=384,
    )
