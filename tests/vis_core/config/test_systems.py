"""The segmentor of a system: its default has no name on disk, another one is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.config.loading import flatten, load_run_config
from tests.helpers.presets import combined_config, tiny_config
from vis_core.config.systems import CtvisConfig, IdolConfig, MinvisConfig
from vis_core.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[3] / "jobs" / "configs"
DEFAULTS = {"ctvis": "mask2former", "minvis": "mask2former", "idol": "deformable_detr"}
OTHERS = {"ctvis": "deformable_detr", "idol": "mask2former"}
KINDS: dict[str, Any] = {"ctvis": CtvisConfig, "minvis": MinvisConfig, "idol": IdolConfig}


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_default_segmentor_may_be_named_and_is_stored_without_its_name(name: str) -> None:
    config = tiny_config(name)
    stored = json.loads(config.model_dump_json(by_alias=True))
    assert "name" not in stored["segmentor"]
    assert config.segmentor.name == DEFAULTS[name]
    for segmentor in (stored["segmentor"], {"name": DEFAULTS[name], **stored["segmentor"]}):
        assert KINDS[name].model_validate({**stored, "segmentor": segmentor}) == config


@pytest.mark.parametrize("name", OTHERS)
def test_another_segmentor_is_stored_with_its_name_and_has_its_own_loss_weights(name: str) -> None:
    config = combined_config(name)
    stored = json.loads(config.model_dump_json(by_alias=True))
    assert stored["segmentor"]["name"] == OTHERS[name]
    assert KINDS[name].model_validate(stored) == config
    (other,) = OTHERS.keys() - {name}
    theirs = tiny_config(other).loss_weights.model_dump()
    assert config.loss_weights.model_dump().keys() == theirs.keys()
    assert config.loss_weights.embed == KINDS[name]().loss_weights.embed


@pytest.mark.parametrize("recipe", ["ctvis_r50_ytvis19", "idol_r50_ytvis19"])
def test_a_recipe_changes_its_segmentor_and_nothing_else(recipe: str) -> None:
    name = recipe.partition("_")[0]
    weights = {"ctvis": "{box: 5.0, embed_cosine: 3.0}", "idol": "{embed_cosine: 3.0}"}
    changes = [
        f"system.segmentor={{name: {OTHERS[name]}}}",
        f"system.loss_weights={weights[name]}",
    ]
    if name == "ctvis":
        changes += ["system.items.match_again=false", "inference.tracks.evidence=scores"]
    before = flatten(load_run_config(CONFIGS / f"{recipe}.yaml"))
    after = flatten(load_run_config(CONFIGS / f"{recipe}.yaml", changes))
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    others = {"system.items.match_again", "inference.tracks.evidence"} if name == "ctvis" else set()
    sections = ("system.segmentor.", "system.loss_weights.")
    assert {key for key in changed if not key.startswith(sections)} == others


@pytest.mark.parametrize(
    ("preset", "override", "message"),
    [
        ("tiny", "segmentor={name: detr}", "system.segmentor: input tag 'detr'"),
        (
            "minvis_tiny",
            "segmentor={name: deformable_detr}",
            "system.segmentor.name: input should be 'mask2former', found 'deformable_detr'",
        ),
        (
            "tiny",
            "segmentor.name=deformable_detr",
            "'system.segmentor.num_points'; only another section or another segmentor has",
        ),
        ("tiny", "loss_weights={box: 1.0}", "'system.loss_weights.box'; only another section"),
        ("idol_tiny", "segmentor={name: mask2former}", "unknown key 'system.loss_weights.giou'"),
        (
            "ctvis_r50_ytvis19",
            "segmentor={name: deformable_detr}",
            "items.match_again: expected false with segmentor deformable_detr, found true",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(preset: str, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_run_config(CONFIGS / f"{preset}.yaml", [f"system.{override}"])
    assert message in str(caught.value)


def test_logits_for_no_object_are_not_expected_of_deformable_detr() -> None:
    changes = ["system.segmentor={name: deformable_detr}", "system.items.match_again=false"]
    with pytest.raises(ConfigError, match="evidence: expected scores with segmentor deformable"):
        load_run_config(CONFIGS / "ctvis_r50_ytvis19.yaml", changes)
