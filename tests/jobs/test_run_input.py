"""Bad input of a run: one line with problem and place, exit code 2, nothing written."""

import json
import sys
from pathlib import Path

import pytest

from jobs.cli import main


def picture(path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 24)).save(path)


def coco_with_absent_image(folder: Path) -> Path:
    picture(folder / "images" / "there.jpg")
    document = {
        "images": [
            {"id": 1, "file_name": "there.jpg", "height": 24, "width": 32},
            {"id": 2, "file_name": "absent.jpg", "height": 24, "width": 32},
        ],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "segmentation": [[2, 2, 20, 2, 20, 20]],
                "area": 162,
                "bbox": [2, 2, 18, 18],
                "iscrowd": 0,
            }
        ],
    }
    (folder / "instances.json").write_text(json.dumps(document))
    return folder


def test_mistakes_are_one_line_and_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    broken_yaml = tmp_path / "run.yaml"
    broken_yaml.write_text("stages: [\n")
    cases = [
        (["--coco", str(tmp_path / "nowhere")], "nowhere"),
        (["--videos", str(tmp_path / "empty")], "no video file"),
        (["--vis", str(tmp_path / "empty")], "empty"),
        (["--coco", str(coco_with_absent_image(tmp_path / "coco"))], "absent.jpg"),
        (["--set", "syste.name=minvis"], "did you mean 'system'"),
        (["--set", "stages.0.steps=0"], "stages.0.steps"),
        (["--set", "seed"], "expected dotted.key=value"),
        (["--config", str(broken_yaml)], "run.yaml"),
        (["--config", str(tmp_path / "none.yaml")], "none.yaml"),
    ]
    for arguments, words in cases:
        assert main(["demo", "--out", str(out), *arguments]) == 2, arguments
        said = capsys.readouterr().err
        assert words in said
        assert "Traceback" not in said
        assert len(said.strip().splitlines()) <= 2, said
        assert not out.exists()


def test_a_folder_of_something_else_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "not a run" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_other_settings_do_not_mix_into_a_run(tmp_path: Path) -> None:
    from jobs.options import CONFIGS
    from pipelines.config.loading import load_run_config
    from pipelines.data.given_data import GivenData
    from pipelines.run.folder import Run, open_run, read_run
    from vis_core.errors import ConfigError

    folder = tmp_path / "run"
    config = load_run_config(CONFIGS / "tiny.yaml")
    open_run(Run(folder, config, GivenData()))
    open_run(Run(folder, config, GivenData()))  # repeating the same command is fine
    assert read_run(folder).config == config
    other = load_run_config(CONFIGS / "tiny.yaml", ["seed=1"])
    with pytest.raises(ConfigError, match=r"config\.seed: 0 -> 1"):
        open_run(Run(folder, other, GivenData()))


@pytest.mark.parametrize("preset", ["tiny", "r50", "swin_l"])
def test_presets_are_whole(preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--config", preset]) == 0
    assert "stages:" in capsys.readouterr().out


def test_a_resolved_run_file_is_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "--set", "seed=3", "--from-scratch", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["seed"], document["start_from"]) == (3, None)
    assert main(["config", "schema"]) == 0
    assert "stages" in json.loads(capsys.readouterr().out)["properties"]


def test_dry_run_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--dry-run", "--out", str(tmp_path / "run")]) == 0
    assert "videos: 200 steps" in capsys.readouterr().out
    assert main(["demo", "--quick", "--dry-run", "--out", str(tmp_path / "run")]) == 0
    assert "videos: 20 steps" in capsys.readouterr().out
    assert main(["learn", "stc", "--dry-run", "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out == "stc: 2500 steps\n"
    table = ["ablate", "winner_1", "--out", str(tmp_path / "run"), "--dry-run", "--json"]
    assert main([*table, "--seeds", "4", "5"]) == 0
    assert json.loads(capsys.readouterr().out)["seeds"] == [4, 5]
    assert not (tmp_path / "run").exists()


def test_bad_input_is_reported_without_ray_or_torch(tmp_path: Path) -> None:
    import subprocess

    code = (
        "import sys; from jobs.cli import main; "
        f"rc = main(['demo', '--coco', {str(tmp_path / 'no')!r}]); "
        "print(rc, 'ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]
