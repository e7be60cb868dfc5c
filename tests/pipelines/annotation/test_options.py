"""The options of a job: refusals, and the digest of a result's settings."""

import pytest

from jobs.options import inference_config
from pipelines.annotation.ledger import json_digest
from pipelines.annotation.options import AnnotateOptions
from vis_core.config.inference import InferenceConfig
from vis_core.config.stitching import StitchConfig
from vis_core.errors import ConfigError

VIEWS = InferenceConfig(views=("160", "160+flip"))
CHANGED = InferenceConfig(stitching=StitchConfig(overlap_frames=8))


def digest(config, **options):
    return json_digest(["d" * 64, AnnotateOptions(**options).settings_document(config)])


# computed before stitching became a section of the inference settings and test frames were
# antialiased
@pytest.mark.parametrize(
    "config, options, expected",
    [
        ({}, {}, "96438a8d80b969f0"),
        ({"sample_fps": 5, "views": ("480",)}, {"max_frames": 7}, "1ed45b8b4485dece"),
        ({}, {"segments": 3, "join": "stitched"}, "70cafc8192652e87"),
    ],
)
def test_results_keep_the_names_that_they_had(config, options, expected):
    assert digest(InferenceConfig(resize="quick", **config), **options).startswith(expected)
    assert not digest(InferenceConfig(**config), **options).startswith(expected)


def test_stitching_settings_name_a_result_only_when_segments_are_stitched():
    assert digest(CHANGED) == digest(InferenceConfig())
    for exact in ({"segments": 3}, {"segments": 1, "join": "stitched"}):
        assert digest(CHANGED, **exact) == digest(InferenceConfig())
    stitched = {"segments": 3, "join": "stitched"}
    assert digest(CHANGED, **stitched) != digest(InferenceConfig(), **stitched)
    document = AnnotateOptions(**stitched).settings_document(CHANGED)
    assert document["stitching"]["segments"] == 3
    assert document["stitching"]["overlap_frames"] == 8
    assert "stitching" not in document["inference"]


def test_options_of_the_pool_name_no_result():
    other = {"workers": 7, "gpus_per_worker": 0.5, "redo": "all", "save_every": 9, "address": "a"}
    assert digest(InferenceConfig(), **other) == digest(InferenceConfig())


@pytest.mark.parametrize(
    "config, options, message",
    [
        (InferenceConfig(), {"max_frames": 0}, "max_frames: expected at least 1, found 0"),
        (InferenceConfig(), {"workers": 0}, "workers: expected at least 1"),
        (InferenceConfig(), {"save_every": 0}, "save_every: expected at least 1"),
        (InferenceConfig(), {"gpus_per_worker": -1.0}, "gpus_per_worker: expected 0 or more"),
        (InferenceConfig(), {"segments": 0}, "segments: expected at least 1 or auto, found 0"),
        (
            InferenceConfig(),
            {"join": "stitched"},
            "segments: auto depends on the number of workers",
        ),
        (VIEWS, {"segments": 2}, "segments: found 2, but the results of 2 views are fused"),
    ],
)
def test_an_option_out_of_range_is_named(config, options, message):
    with pytest.raises(ConfigError, match=message):
        AnnotateOptions(**options).validate(config)


def test_a_video_in_several_views_stays_uncut():
    for segments in ("auto", 1):
        options = AnnotateOptions(segments=segments)
        options.validate(VIEWS)
        assert options.segments_with(VIEWS) == 1
    assert AnnotateOptions(segments=4).segments_with(InferenceConfig()) == 4


def test_the_command_line_reaches_the_stitching_settings():
    config = inference_config(["inference.stitching.overlap_frames=8"])
    assert config == CHANGED
