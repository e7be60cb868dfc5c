"""The inference section of a run file."""

import pytest
import yaml

from pipelines.config.loading import flatten, parse_run_config
from vis_core.config.inference import InferenceConfig, TrackConfig

STAGE = {"name": "joint", "clips": "videos", "steps": 1}
RELEASED = {
    "ctvis": TrackConfig.ctvis_released(40),
    "minvis": TrackConfig.minvis_released(),
    "idol": TrackConfig.idol_released(),
}


@pytest.mark.parametrize("name", RELEASED)
def test_released_forms_can_be_written_in_a_run_file(name):
    inference = InferenceConfig(tracks=RELEASED[name])
    section = inference.model_dump(mode="json", exclude_defaults=True)
    text = yaml.safe_dump({"inference": section, "stages": [STAGE]})
    run = parse_run_config(yaml.safe_load(text), "run.yaml")
    assert run.inference == inference
    assert flatten(run)["inference.tracks.labels"] == "every"


def test_the_papers_form_is_the_default():
    tracks = TrackConfig()
    assert (tracks.evidence, tracks.over_time, tracks.labels) == ("scores", "mean", "best")
    assert not tracks.mask_quality
    assert tracks.short_tracks is None
