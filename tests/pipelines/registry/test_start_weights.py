"""Start weights on the command line: backbones alone, and frozen parts that would be random."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from transformers import ResNetConfig, ResNetForImageClassification

from jobs.cli import main
from jobs.options import CONFIGS
from pipelines.config.loading import load_run_config
from pipelines.experiments.comparison import SYSTEMS
from pipelines.registry.start_weights import check_start

SIZES = {"embedding_size": 8, "hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1]}


def backbone(stride_in_1x1: bool) -> str:
    sizes = SIZES | {"downsample_in_bottleneck": stride_in_1x1}
    return f"system.segmentor.backbone={json.dumps({'family': 'resnet', 'sizes': sizes})}"


def resnet_folder(folder: Path, *, stride_in_1x1: bool) -> Path:
    config = ResNetConfig(**SIZES, downsample_in_bottleneck=stride_in_1x1)
    ResNetForImageClassification(config).save_pretrained(folder)
    return folder


def planned(preset: str, out: Path, changes: Sequence[str]) -> int:
    sets = [word for change in changes for word in ("--set", change)]
    return main(["train", preset, "--dry-run", "--out", str(out), *sets])


@pytest.mark.parametrize("recipe", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_recipes_with_a_frozen_random_backbone_are_refused(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_run_config(CONFIGS / f"{recipe}.yaml")
    name = config.system.segmentor.backbone
    frozen = config.start_from is None and str(name).startswith("resnet")
    assert planned(recipe, tmp_path / "run", []) == (2 if frozen else 0)
    output = capsys.readouterr()
    assert "nothing was started or written" in output.out
    if frozen:
        assert f"start_from: expected trained weights of the backbone {name}" in output.err
        assert "batch norms without statistics" in output.err
        assert output.err.strip().count("\n") == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("preset", sorted(preset for preset, _ in SYSTEMS.values()))
def test_tiny_presets_start_from_scratch(preset: str, tmp_path: Path) -> None:
    assert main(["train", preset, "--from-scratch", "--dry-run", "--out", str(tmp_path / "x")]) == 0


@pytest.mark.parametrize("preset", ["idol_tiny", "stc_tiny"])
def test_training_with_random_frozen_stages_is_refused_before_it_starts(
    preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ["start_from=null", "system.segmentor.frozen_stages=2"]
    assert planned(preset, tmp_path / "run", changes) == 2
    assert "by system.segmentor.frozen_stages=2" in capsys.readouterr().err
    sets = [word for change in changes for word in ("--set", change)]
    assert main(["train", preset, "--out", str(tmp_path / "run"), *sets]) == 2
    message = capsys.readouterr().err
    assert (
        "--set start_from=FILE|FOLDER|hf:<id> or --set system.segmentor.frozen_stages=0" in message
    )
    assert not (tmp_path / "run").exists()
    assert planned(preset, tmp_path / "run", changes[1:]) == 0  # from the weights in the package


def test_a_batch_norm_that_learns_may_be_random(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert planned("r50", tmp_path / "run", []) == 2
    assert "--set system.segmentor.train_batch_norm=true" in capsys.readouterr().err
    assert planned("r50", tmp_path / "run", ["system.segmentor.train_batch_norm=true"]) == 0


def test_a_backbone_is_the_start_of_a_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = resnet_folder(tmp_path / "hub", stride_in_1x1=True)
    changes = [f"start_from=hf:{source}", backbone(stride_in_1x1=True)]
    assert planned("stc_r50_coco", tmp_path / "run", changes) == 0
    (line,) = [row for row in capsys.readouterr().out.splitlines() if row.startswith("start ")]
    assert f"hf:{source}: " in line
    assert "class heads: new" in line
    taken, total = line.partition(" tensors fit, ")[2].split(" in the ")[0].split(" of ")
    assert taken == total


def test_a_backbone_with_another_stride_is_named_with_the_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = resnet_folder(tmp_path / "hub", stride_in_1x1=False)
    capsys.readouterr()
    changes = [f"start_from={source}", backbone(stride_in_1x1=True)]
    assert planned("stc_r50_coco", tmp_path / "run", changes) == 2
    message = capsys.readouterr().err
    assert f"{source}: backbone: expected a resnet" in message
    assert "set system.segmentor.backbone=" in message
    assert message.strip().count("\n") == 0


def test_a_stage_with_a_start_of_its_own_is_checked_too(tmp_path: Path) -> None:
    source = resnet_folder(tmp_path / "hub", stride_in_1x1=False)
    changes = [backbone(stride_in_1x1=False), f"stages.0.start_from={source}"]
    config = load_run_config(CONFIGS / "stc_r50_coco.yaml", changes)
    assert f"images: {source}: " in check_start(config)
