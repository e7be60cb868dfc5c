"""Run files: strict YAML, strict types, every refusal with its dotted key."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.config.loading import (
    digest,
    flatten,
    load_run_config,
    parse_overrides,
    parse_run_config,
    to_yaml,
)
from pipelines.config.run import RunConfig
from pipelines.registry.start_weights import start_folder
from tests.conftest import data_dir_or_none
from vis_core.config.inference import InferenceConfig
from vis_core.config.systems import StcConfig
from vis_core.errors import ConfigError

PRESETS = sorted((Path(__file__).resolve().parents[3] / "jobs" / "configs").glob("*.yaml"))


def tiny() -> Path:
    return next(path for path in PRESETS if path.stem == "tiny")


def hostile_files() -> list[tuple[Path, list[str], list[str]]]:
    """Lists files to refuse, with words that the message must and must not contain."""
    folder = data_dir_or_none()
    if folder is None:
        return []
    cases = []
    manifest = json.loads((folder / "hostile" / "manifest.json").read_text())
    for entry in manifest.get("entries") or manifest["files"]:
        if entry["kind"] == "config" and entry["expect"] == "reject":
            cases.append((folder / "hostile" / entry["file"], entry["must_name"], []))
    expected = json.loads((folder / "hostile_more" / "expected.json").read_text())
    for name, entry in expected.items():
        if name.startswith("configs/"):
            assert entry["outcome"] == "refuse"
            words = entry["must_mention"], entry.get("must_not_mention", [])
            cases.append((folder / "hostile_more" / name, *words))
    return cases


@pytest.mark.data
@pytest.mark.usefixtures("data_dir")
@pytest.mark.parametrize(
    ("path", "must", "must_not"),
    hostile_files(),
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_a_hostile_run_file_is_refused(path: Path, must: list[str], must_not: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_run_config(path)
    for word in must:
        assert word in str(caught.value)
    for word in must_not:
        assert word not in str(caught.value)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_says_itself(path: Path) -> None:
    config = load_run_config(path)
    assert parse_run_config(yaml.safe_load(to_yaml(config)), "again") == config
    assert digest(config) == digest(RunConfig.model_validate(config.model_dump(by_alias=True)))


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("seed", "dotted.key=value"),
        ("seed='3'", "seed"),
        ("seed=true", "seed"),
        ("seed=1_000", "seed"),
        ("stages.9.steps=3", "'9' is not an item"),
        ("stages.piars=null", "'piars' is not an item"),
        ("stages.0=3", "'0' is not a key of a section"),
        ("stages.0.steps=0", "stages.0.steps"),
        ("stages.0.steps.more=1", "holds a value"),
        ("system.asociation={}", "did you mean 'association'"),
        ("system.association.match_threshold=1e999", "too large"),
        ("start_from=s3://key:secret@host/x", "environment"),
    ],
)
def test_a_wrong_override_names_its_key(override: str, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_run_config(tiny(), [override])
    assert word in str(caught.value)
    assert "secret@" not in str(caught.value)


def test_overrides_reach_every_depth() -> None:
    config = load_run_config(
        tiny(), ["seed=7", "stages.1.steps=9", "system.association.match_threshold=0.25"]
    )
    assert (config.seed, config.stages[1].steps) == (7, 9)
    assert flatten(config)["system.association.match_threshold"] == 0.25


def test_a_list_item_is_changed_by_name_all_at_once_or_removed() -> None:
    names = [stage.name for stage in load_run_config(tiny()).stages]
    optimizer = "stages.*.optimizer={weight_decay: 0.5}"
    changes = ["stages.videos.steps=9", optimizer, "stages.0.optimizer.clip_norm=3"]
    config = load_run_config(tiny(), changes)
    assert [stage.steps == 9 for stage in config.stages] == [name == "videos" for name in names]
    assert {stage.optimizer.weight_decay for stage in config.stages} == {0.5}
    assert len({stage.optimizer.clip_norm for stage in config.stages}) == 2
    rest = load_run_config(tiny(), ["stages.pseudo=null"]).stages
    assert [stage.name for stage in rest] == [name for name in names if name != "pseudo"]


def test_an_override_of_steps_replaces_epochs_and_the_other_way_round() -> None:
    (stage, *_) = load_run_config(tiny(), ["stages.0.epochs=1.5"]).stages
    assert (stage.steps, stage.epochs) == (None, 1.5)
    recipe = next(path for path in PRESETS if path.stem == "stc_r50_ytvis19")
    (stage,) = load_run_config(recipe, ["stages.0.steps=9"]).stages
    assert (stage.steps, stage.epochs) == (9, None)


def test_overrides_alone_inherit_no_section_of_a_preset() -> None:
    config = parse_overrides(InferenceConfig, "inference", ["inference.sample_fps=2"])
    assert config == InferenceConfig(sample_fps=2)
    assert parse_overrides(InferenceConfig, "inference", []) == InferenceConfig()


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("seed=1", "expected a key of inference"),
        ("inference", "expected a key of inference"),
        ("inference.sampel_fps=1", "'inference.sampel_fps'; did you mean 'sample_fps'?"),
        ("inference.fusion.scroe=max", "'inference.fusion.scroe'; did you mean 'score'?"),
        ("inference.sample_fps='2'", "--set: inference.sample_fps: input should be a valid number"),
        ("inference.sample_fps=-1", "inference.sample_fps: input should be greater than"),
        ("inference.sample_fps.more=1", "inference.sample_fps: "),
        ("inference.device=s3://key:secret@host/x", "inference.device holds a password"),
    ],
)
def test_a_wrong_override_alone_names_its_key(override: str, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_overrides(InferenceConfig, "inference", [override])
    assert word in str(caught.value)
    assert "secret@" not in str(caught.value)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, child in value.items() for leaf in leaves(child, (*path, key))]
    if isinstance(value, list):
        return [
            path,
            *(leaf for i, child in enumerate(value) for leaf in leaves(child, (*path, i))),
        ]
    return [path]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Returns the value with another one at a path."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


@pytest.mark.data
def test_every_mutation_is_refused_by_name_or_harmless(data_dir: Path) -> None:
    """Applies the rules of hostile/configs/mutations.json to every leaf of a complete run."""
    rules = json.loads((data_dir / "hostile" / "configs" / "mutations.json").read_text())
    values = [value for name, group in rules.items() if name != "keys" for value in group]
    whole = json.loads(load_run_config(tiny()).model_dump_json(by_alias=True))
    refused = 0
    for path in leaves(whole):
        for value in values:
            mutant = replaced(whole, path, value)
            try:
                config = parse_run_config(mutant, "run.yaml")
                start_folder(config)
            except ConfigError as error:
                refused += 1
                keys = [str(part) for part in path]
                # a whole section of another kind is reported by its own key
                assert ".".join(keys) in str(error) or ".".join(keys[:-1]) in str(error)
            else:
                assert all(finite(leaf) for leaf in flatten(config).values())
                assert parse_run_config(yaml.safe_load(to_yaml(config)), "again") == config
    assert refused > 2000


def test_a_misspelt_key_is_refused_at_every_place() -> None:
    whole = json.loads(load_run_config(tiny()).model_dump_json(by_alias=True))
    for path in leaves(whole):
        key = path[-1]
        if isinstance(key, int):
            continue
        for wrong in (f"{key}_x", key.upper(), key[:-1] + ("y" if key[-1] != "y" else "z")):
            mutant = replaced(whole, path, None)
            parent = mutant
            for part in path[:-1]:
                parent = parent[part]
            del parent[key]
            parent[wrong] = 1
            with pytest.raises(ConfigError) as caught:
                parse_run_config(mutant, "run.yaml")
            assert wrong in str(caught.value) or ".".join(map(str, path[:-1])) in str(caught.value)


@pytest.mark.parametrize("name", ["tiny", "stc_tiny"])
def test_a_wrong_value_at_any_place_is_one_line_with_its_key(name: str) -> None:
    (preset,) = (path for path in PRESETS if path.stem == name)
    whole = json.loads(load_run_config(preset).model_dump_json(by_alias=True))
    refused = 0
    for path in leaves(whole):
        for wrong in ("no such", -7, True):
            try:
                parse_run_config(replaced(whole, path, wrong), "run.yaml")
            except ConfigError as error:
                refused += 1
                (line,) = str(error).splitlines()
                key = ".".join(map(str, path))
                assert line.startswith(f"run.yaml: {key.rpartition('.')[0]}"), line
    assert refused > 500


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (
            "stages=[{name: a, clips: images, steps: no}]",
            ["stages.0.steps: input should be a valid integer, found 'no'"],
        ),
        ("stages=[]", ["stages: tuple should have at least 1 item after validation"]),
        ("stages=[7]", ["stages.0: input should be an object, found 7"]),
        ("system.segmentor.backbone=vgg", ["system.segmentor.backbone: input should be 'tiny', "]),
        (
            "system.segmentor.backbone={family: swin, sizes: {}, size: 1}",
            ["unknown key 'system.segmentor.backbone.size'"],
        ),
    ],
)
def test_an_error_has_no_second_untrue_line(change: str, lines: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_run_config(tiny(), [change])
    found = [line.partition(": ")[2] for line in str(caught.value).splitlines()]
    assert len(found) == len(lines)
    assert all(line.startswith(words) for line, words in zip(found, lines, strict=True)), found


def test_a_section_in_part_keeps_the_defaults_of_its_system() -> None:
    stage = {"name": "frames", "clips": "images", "steps": 1}
    run = {"system": {"name": "minvis", "association": {"history_length": 3}}, "stages": [stage]}
    association = parse_run_config(run, "run.yaml").system.association
    assert (association.assignment, association.match_threshold) == ("hungarian", None)
    assert association.history_length == 3


@pytest.mark.parametrize(
    "stage, words",
    [
        ({"clips": "mixed", "clip_frames": 8}, "mixed needs it"),
        ({"clips": "videos", "pseudo_share": 0.5}, "pseudo_share belongs to clips: mixed"),
        ({"clips": "mixed", "clip_frames": 5, "pseudo_share": 0.5}, "pseudo.num_frames"),
    ],
)
def test_a_mixed_stage_that_does_not_fit_is_refused(stage: dict, words: str) -> None:
    run = {"stages": [{"name": "joint", "steps": 1} | stage]}
    with pytest.raises(ConfigError, match=words):
        parse_run_config(run, "run.yaml")


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({}, "stages.0: value error, expected either steps or epochs, found neither"),
        ({"steps": 3, "epochs": 1}, "expected either steps or epochs, found both"),
        ({"epochs": 0}, "stages.0.epochs: input should be greater than 0"),
        ({"clips": "mixed", "pseudo_share": 0.5, "epochs": 1}, "mixed draws from two sources"),
    ],
)
def test_a_stage_has_either_steps_or_epochs(stage: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_run_config({"stages": [{"name": "joint", "clips": "videos"} | stage]}, "run.yaml")


@pytest.mark.parametrize("path", [p for p in PRESETS if p.match("stc_r*vis*")], ids=str)
def test_the_stc_recipes_have_a_form_that_learns(path: Path) -> None:
    config = load_run_config(path)
    system = config.system
    assert isinstance(system, StcConfig)
    tracking = system.tracking
    assert (tracking.over_positives, tracking.both_frames) == ("mean", True)
    assert tracking.max_positives == tracking.num_negatives == 128
    assert not system.segmentor.decoding.threshold_with_center
    (stage,) = config.stages
    assert (stage.sampling, stage.clip_frames, stage.epochs) == ("frames", 2, 6)
