"""Systems that train on the CPU of a laptop."""

from vis_core.config.contrastive import StcTrackingConfig
from vis_core.config.segmentors import CondInstSettings, DeformableDetrSettings, Mask2FormerSettings
from vis_core.config.systems import IdolConfig, MinvisConfig, StcConfig


def tiny_segmentor(train_batch_norm: bool = False) -> Mask2FormerSettings:
    """Sizes the segmentor that trains on a laptop's CPU; about one million weights (ours)."""
    return Mask2FormerSettings(
        backbone="tiny",
        num_queries=20,
        hidden_width=64,
        num_heads=4,
        encoder_layers=2,
        encoder_ffn_width=128,
        decoder_layers=3,
        decoder_ffn_width=192,
        num_points=768,
        train_batch_norm=train_batch_norm,
    )


def tiny_minvis(train_batch_norm: bool = False) -> MinvisConfig:
    """Is the system that the shipped start weights are trained with."""
    return MinvisConfig(
        segmentor=tiny_segmentor(train_batch_norm), test_short_side=128, test_max_long_side=384
    )


def tiny_idol() -> IdolConfig:
    """Sizes an IDOL that trains on a laptop's CPU (ours)."""
    return IdolConfig(
        segmentor=DeformableDetrSettings(
            backbone="tiny",
            num_queries=30,
            hidden_width=64,
            num_heads=4,
            encoder_layers=2,
            encoder_ffn_width=128,
            decoder_layers=3,
            decoder_ffn_width=192,
            dropout=0.0,
            frozen_stages=0,
        ),
        embedding_width=64,
        test_short_side=128,
        test_max_long_side=384,
    )


def tiny_stc() -> StcConfig:
    """Sizes an STC that trains on a laptop's CPU (ours)."""
    return StcConfig(
        segmentor=CondInstSettings(
            backbone="tiny",
            width=64,
            tower_convs=2,
            mask_branch_width=32,
            mask_branch_convs=2,
            frozen_stages=0,
        ),
        tracking=StcTrackingConfig(width=64, over_positives="mean"),
        test_short_side=128,
        test_max_long_side=384,
    )
