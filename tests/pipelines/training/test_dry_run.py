"""``longtake train --dry-run``: every preset and recipe resolves, and its figures are printed."""

import math
import re
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.options import CONFIGS
from pipelines.config.loading import load_run_config
from pipelines.data.find_data import find_vis
from vis_core.formats.youtube_vis import read_youtube_vis

RECIPES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def plan_of(recipe: str, out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Returns a plan; one without start weights for frozen parts is printed, then refused."""
    code = main(["train", "--config", recipe, "--dry-run", "--out", str(out), *options])
    assert not out.exists()
    output = capsys.readouterr()
    assert code == (2 if "found random ones that would stay frozen" in output.err else 0)
    return output.out


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_has_a_plan(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(recipe, tmp_path / "run", capsys)
    config = load_run_config(CONFIGS / f"{recipe}.yaml")
    assert config.start_hint is None or config.start_hint in plan
    for stage in config.stages:
        clips = stage.batch_size * config.ray.num_workers
        length = (
            f"{stage.steps:,} steps of" if stage.steps else f"{stage.epochs:g} epochs in steps of"
        )
        assert f"{stage.name}: {length} {clips} clips" in plan
    assert plan.endswith("nothing was started or written (--dry-run)\n")


@pytest.mark.parametrize(
    "recipe, words",
    [
        (
            "ctvis_r50_ytvis19",
            ["40% pseudo-videos of 10 frames", "6,000 and 12,000", "44.2 million"],
        ),
        ("ctvis_swinl_ovis", ["57% pseudo-videos of 6 frames", "within 10", "200 queries"]),
        ("minvis_r50_ytvis21", ["1 frame within", "after 5,500 steps", "threshold none"]),
    ],
)
def test_a_plan_tells_the_published_numbers(
    recipe: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(recipe, tmp_path / "run", capsys)
    assert [word for word in words if word not in plan] == []


@pytest.mark.data
def test_a_plan_counts_the_steps_of_epochs_in_given_videos(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vis = data_dir / "vis_mini"
    plan = plan_of("stc_r50_ytvis19", tmp_path / "run", capsys, "--vis", str(vis))
    videos = read_youtube_vis(find_vis(vis, None).train)[0]
    keys = sum(
        any(track.segmentations[t] for track in video.tracks if not track.iscrowd)
        for video in videos
        for t in range(len(video.file_names))
    )
    (stage,) = load_run_config(CONFIGS / "stc_r50_ytvis19.yaml").stages
    assert stage.epochs is not None
    steps = math.ceil(stage.epochs * keys / 16)
    assert f"videos: {steps:,} steps ({stage.epochs:g} epochs) of 16 clips" in plan
    first, second = (f"{round(share * steps):,}" for share in stage.optimizer.decay_at)
    assert f"a tenth after {first} and {second} steps" in plan


def test_missing_data_and_start_weights_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of("ctvis_r50_ovis", tmp_path / "run", capsys)
    assert "training videos of --vis: not given" in plan
    assert "random weights" in plan
    absent = f"start_from={tmp_path / 'absent'}"
    arguments = ["train", "--dry-run", "--out", str(tmp_path / "run"), "--set", absent]
    assert main(arguments) == 2
    assert "absent holds no weights.safetensors" in capsys.readouterr().err


def test_a_plan_tells_what_most_stages_do_not_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--set", "checkpoints.storage=s3://vis/checkpoints"]
    for change in (
        "stages.1.start_from=tiny",
        "stages.1.loss_weights={box: 2.5}",
        "stages.0.ema_decay=0.999",
        "stages.0.evaluate_every=200",
        "stages.0.recompute_activations=true",
    ):
        options += ["--set", change]
    plan = plan_of("stc_tiny", tmp_path / "run", capsys, *options)
    for words in (
        "checkpoints s3://vis/checkpoints, the newest 2 are kept",
        "start     tiny",
        "losses    box 2.5, the others as above",
        "running mean of the weights, decay 0.999",
        "scored every 200 steps on up to 8 validation videos",
        "activations are recomputed",
    ):
        assert words in plan


def test_a_weight_of_a_loss_that_is_not_there_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--config", "stc_tiny", "--out", str(tmp_path / "run")]
    assert main([*words, "--set", "stages.0.loss_weights={boxes: 1.0}"]) == 2
    assert (
        "stages.0.loss_weights.boxes: stc has no such loss; it has box," in capsys.readouterr().err
    )
    assert not (tmp_path / "run").exists()


def test_a_recipe_may_stand_alone_and_names_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "ctvis_swinl_ovis", "--dry-run"]) == 0
    assert f"writes      {tmp_path / 'runs' / 'ctvis_swinl_ovis'}:" in capsys.readouterr().out
    assert main(["train", "ctvis_r50_ovis", "--config", "stc_tiny", "--dry-run"]) == 2
    assert "give one run file" in capsys.readouterr().err
    assert main(["train", "--dry-run"]) == 2
    assert "expected a recipe or --out" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", [name for name in RECIPES if re.match("idol_(?!tiny)", name)])
def test_recipes_of_idol_train_all_of_coco_before_the_videos(recipe: str) -> None:
    config = load_run_config(CONFIGS / f"{recipe}.yaml")
    stages = [(stage.name, stage.clips, stage.classes) for stage in config.stages]
    videos = ("videos", "videos", "videos")
    if recipe.endswith("_coco"):  # the run has COCO's classes only
        assert stages == [("images", "images", "videos"), ("pairs", "pairs", "videos")]
    elif recipe.endswith(("_1st", "_2nd")):
        assert stages == [("pairs", "pairs", "images"), videos]
    else:
        assert stages == [videos]
