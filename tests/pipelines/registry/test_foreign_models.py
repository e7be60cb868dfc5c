"""Foreign models: transformers' folders become MinVIS, the authors' checkpoints their system."""

import http.server
import json
import pickle
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

from jobs.cli import main
from pipelines.config.loading import load_run_config
from pipelines.registry.foreign_models import as_model_folder, is_foreign
from pipelines.registry.start_weights import start_folder
from tests.conftest import reference_cases
from vis_core.config.model_files import WEIGHTS_FILE
from vis_core.errors import CheckpointError
from vis_core.formats.categories import numbered
from vis_core.formats.class_maps import CLASS_LISTS
from vis_core.models.importers.transformers_models import import_transformers
from vis_core.models.systems.build import (
    build_system,
    load_system,
    read_categories,
    read_weights,
)
from vis_core.models.systems.transfer import start_from

TINY_RUN = Path(__file__).resolve().parents[3] / "jobs" / "configs" / "tiny.yaml"


@pytest.fixture(scope="module")
def hub_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saves a small Mask2Former with random weights through transformers."""
    torch.manual_seed(0)
    swin = SwinConfig(
        embed_dim=16,
        depths=[1, 1, 1, 1],
        num_heads=[1, 2, 4, 8],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = Mask2FormerConfig(
        backbone_config=swin,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=64,
        encoder_layers=1,
        decoder_layers=3,
        num_attention_heads=4,
        dim_feedforward=64,
        num_queries=12,
        id2label={0: "cat", 1: "dog", 2: "dog"},
    )
    folder = tmp_path_factory.mktemp("hub") / "mask2former-tiny"
    Mask2FormerForUniversalSegmentation(config).save_pretrained(folder)
    return folder


def official_file(folder: Path) -> Path:
    path = folder / "model_final.pth"
    torch.save(
        {"model": load_file(reference_cases("ctvis/mask2former_tiny_r*.safetensors")[0])}, path
    )
    return path


def test_a_folder_of_transformers_gives_the_same_outputs(hub_folder: Path) -> None:
    theirs = Mask2FormerForUniversalSegmentation.from_pretrained(hub_folder).eval()
    system, categories = import_transformers(hub_folder)
    assert categories.names == ("cat", "dog 1", "dog 2")
    images = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        ours = system.segmentor(images)
        wanted = theirs(pixel_values=system.segmentor.normalize(images, None))
    assert torch.equal(ours.predictions.class_logits[-1], wanted.class_queries_logits)
    assert torch.equal(ours.predictions.mask_logits[-1], wanted.masks_queries_logits)


def test_a_model_is_converted_once(hub_folder: Path, tmp_path: Path) -> None:
    assert is_foreign(f"hf:{hub_folder}")
    assert is_foreign(str(hub_folder))
    first = as_model_folder(f"hf:{hub_folder}", tmp_path)
    stamp = (first / "weights.safetensors").stat().st_mtime_ns
    assert as_model_folder(str(hub_folder), tmp_path) == first
    assert (first / "weights.safetensors").stat().st_mtime_ns == stamp
    assert not is_foreign(str(first))
    (instances,) = load_system(first).segment([np.zeros((48, 64, 3), dtype=np.uint8)])
    assert torch.isfinite(instances.scores).all()


@pytest.mark.slow
def test_a_clip_is_annotated_without_any_training(
    hub_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from vis_core.media.video_writer import write_video

    (tmp_path / "videos").mkdir()
    pictures = [np.full((48, 64, 3), 20 * t, dtype=np.uint8) for t in range(3)]
    write_video(tmp_path / "videos" / "clip.mp4", iter(pictures), 8)
    code = main(
        ["annotate", str(tmp_path / "videos"), "--model", f"hf:{hub_folder}",
         "--out", str(tmp_path / "out"), "--model-cache", str(tmp_path / "cache")]
    )  # fmt: skip
    assert code == 0, capsys.readouterr().err
    (result,) = (tmp_path / "out" / "results").iterdir()
    document = json.loads(result.read_text())
    assert document["videos"][0]["length"] == 3
    assert [category["name"] for category in document["categories"]] == ["cat", "dog 1", "dog 2"]


@pytest.mark.parametrize("change", [{"model_type": "detr"}, {"mask_feature_size": 16}])
def test_another_model_is_refused(change: dict, hub_folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((hub_folder / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError):
        import_transformers(tmp_path)


def test_the_hub_out_of_reach_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    out = tmp_path / "model"
    code = main(["import-weights", "--from", "hf:longtake-tests/absent", "--to", str(out)])
    assert code == 4
    message = capsys.readouterr().err
    assert "hf:longtake-tests/absent: the download from the hub failed" in message
    assert message.count("\n") == 1
    assert not out.exists()


def test_import_weights_writes_a_model_with_its_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = official_file(tmp_path), tmp_path / "models" / "tiny"
    assert main(["import-weights", "--from", str(source), "--to", str(out)]) == 2
    assert "has 5 classes without names" in capsys.readouterr().err
    assert not out.exists()
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\ne\n")
    command = ["import-weights", "--from", str(source), "--to", str(out), "--classes"]
    assert main([*command, "ovis"]) == 2
    assert "has 25 classes" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "names.txt")]) == 0
    assert read_categories(out).names == ("a", "b", "c", "d", "e")
    assert type(load_system(out)).__name__ == "Ctvis"
    assert main([*command, str(tmp_path / "names.txt")]) == 2
    assert "exists already" in capsys.readouterr().err


def test_eighty_classes_are_those_of_coco() -> None:
    from pipelines.registry.foreign_models import official_categories

    assert official_categories(80, None, "x.pth") == CLASS_LISTS["coco"]
    assert official_categories(40, "ytvis_2021", "x.pth") == CLASS_LISTS["ytvis_2021"]


def as_pickled_arrays(folder: Path) -> Path:
    """Converts the weights to the form of detectron2's model zoo."""
    path = folder / "model_final.pkl"
    weights = load_file(reference_cases("ctvis/mask2former_tiny_r*.safetensors")[0])
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "tests"}))
    return path


@pytest.mark.parametrize("kind", ["hf:", "folder of transformers", "own", ".pth", ".pkl"])
def test_the_weights_of_every_kind_of_start_arrive(
    kind: str, hub_folder: Path, tmp_path: Path
) -> None:
    source = {
        "hf:": lambda: f"hf:{hub_folder}",
        "folder of transformers": lambda: hub_folder,
        "own": lambda: as_model_folder(str(hub_folder), tmp_path / "own"),
        ".pth": lambda: official_file(tmp_path),
        ".pkl": lambda: as_pickled_arrays(tmp_path),
    }[kind]()
    config = load_run_config(TINY_RUN, [f"start_from={source}"])
    folder = start_folder(config, tmp_path / "start")
    assert folder is not None
    like = load_system(folder)
    names = [*read_categories(folder).names[1:], "never seen"]
    categories = numbered(names)
    torch.manual_seed(5)
    system = build_system(like.config, len(categories))
    fresh = {name: tensor.clone() for name, tensor in system.state_dict().items()}
    start_from(system, folder, categories)
    found, wanted = system.state_dict(), read_weights(folder / WEIGHTS_FILE)
    head = "segmentor.network.class_predictor.weight"
    for name, tensor in wanted.items():
        if "class_predictor" not in name and "empty_weight" not in name:
            assert torch.equal(found[name], tensor), name
    if kind in (".pth", ".pkl"):  # the checkpoint has no names
        assert torch.equal(found[head], wanted[head])
        return
    assert torch.equal(found[head][: len(names) - 1], wanted[head][1:-1])  # equal names
    assert torch.equal(found[head][-1], wanted[head][-1])  # no object
    assert torch.equal(found[head][len(names) - 1], fresh[head][len(names) - 1])  # a new class


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub that echoes the credentials that it receives, or sends no answer."""

    def do_GET(self) -> None:
        if "silent" in self.path:
            time.sleep(4)
            return
        self.send_response(500)
        self.send_header("X-Error-Message", f"you sent {self.headers['authorization']}")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Suppresses the log."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        "huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}"
    )
    monkeypatch.setenv("HF_TOKEN", "hf_canaryofthetests")
    monkeypatch.setattr("pipelines.registry.foreign_models._HUB_TIMEOUT_S", 0.5)
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("name", ["tests/silent", "tests/echo"])
def test_a_hub_that_misbehaves_is_one_line_without_the_token(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    code = main(["import-weights", "--from", f"hf:{name}", "--to", str(tmp_path / "model")])
    assert code == 4
    assert time.monotonic() - started < 4
    message = capsys.readouterr().err.strip()
    assert message.count("\n") == 0
    assert f"hf:{name}: the download from the hub failed" in message
    assert "canary" not in message


@pytest.mark.parametrize("name", ["", "empty"])
def test_what_is_no_model_of_the_hub_is_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    source = f"hf:{tmp_path / name}" if name else "hf:"
    assert main(["import-weights", "--from", source, "--to", str(tmp_path / "model")]) == 2
    assert capsys.readouterr().err.strip().count("\n") == 0


def test_every_tensor_that_does_not_fit_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "many.pth"
    weights = load_file(reference_cases("ctvis/mask2former_tiny_r*.safetensors")[0])
    strange = {f"strange.{number}.weight": torch.ones(1) for number in range(60)}
    torch.save({"model": weights | strange}, path)
    with caplog.at_level("WARNING"), pytest.raises(CheckpointError, match="and 20 more"):
        as_model_folder(str(path), tmp_path / "cache")
    assert [name for name in strange if name not in caplog.text] == []


def test_training_starts_from_a_checkpoint_of_the_authors(tmp_path: Path) -> None:
    source = official_file(tmp_path)
    config = load_run_config(TINY_RUN, [f"start_from={source}"])
    folder = start_folder(config, tmp_path / "start")
    assert folder is not None
    assert len(read_categories(folder)) == 5
    assert start_folder(config, tmp_path / "start") == folder


def changed(hub_folder: Path, target: Path, change=None, **config: object) -> Path:
    """Copies a transformers folder with other entries in its config or other tensors."""
    shutil.copytree(hub_folder, target)
    document = json.loads((target / "config.json").read_text()) | config
    (target / "config.json").write_text(json.dumps(document))
    if change:
        tensors = load_file(target / "model.safetensors")
        change(tensors)
        save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


def imported(source: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(["import-weights", "--from", str(source), "--out", str(out)])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("lamp\xa0x", "lamp x"), ("lamp\n", "lamp"), ("lamp\r\n", "lamp"), (" lamp ", "lamp"),
        ("lamp\u2028post", "lamp post"), ("lamp\u3000x", "lamp x"), ("cat\n", "cat 1"),
        ("l\xe4mp", "l\xe4mp"), ("\u0645\u06cc\u0632", "\u0645\u06cc\u0632"),
    ],
)  # fmt: skip
def test_labels_of_text_files_become_names(label, name, hub_folder, tmp_path, capsys) -> None:
    labels = {"0": "cat", "1": label, "2": "dog"}
    source = changed(hub_folder, tmp_path / "source", id2label=labels)
    assert imported(source, tmp_path / "out", capsys) == (0, "")
    assert read_categories(tmp_path / "out").names[1] == name
    load_system(tmp_path / "out")


@pytest.mark.parametrize("label", ["", " ", "\xa0", "\n", "a\x00b", "a\x1bb", "\ud800"])
def test_a_label_that_is_no_name_is_refused_and_nothing_is_left(
    label, hub_folder, tmp_path, capsys
) -> None:
    source = changed(hub_folder, tmp_path / "source", id2label={"0": "a", "1": label, "2": "b"})
    code, error = imported(source, tmp_path / "out", capsys)
    assert (code, error.count("\n")) == (2, 1) and "name" in error
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(
    value, hub_folder, tmp_path, capsys
) -> None:
    def spoil(tensors):
        tensors["class_predictor.bias"][0] = value

    source = changed(hub_folder, tmp_path / "source", spoil)
    code, error = imported(source, tmp_path / "out", capsys)
    assert (code, error.count("\n")) == (2, 1)
    assert "class_predictor.bias holds values that are not finite" in error
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_another_number_of_labels_is_named_with_both_counts(
    count, hub_folder, tmp_path, capsys
) -> None:
    labels = {str(index): f"c{index}" for index in range(count)}
    ids = {name: int(index) for index, name in labels.items()}
    source = changed(hub_folder, tmp_path / "source", id2label=labels, label2id=ids)
    code, error = imported(source, tmp_path / "out", capsys)
    assert (code, error.count("\n")) == (2, 1), error
    assert "class_predictor.weight has shape (4, 32)" in error and "report" not in error
    assert f"the weights have 3 labels, id2label in config.json has {count}" in error


@pytest.mark.parametrize("prefix", ["", "hf:"])
def test_the_output_of_a_trainer_points_at_the_folder_inside(
    prefix, hub_folder, tmp_path, capsys
) -> None:
    for step in (8, 20, 100):
        shutil.copytree(hub_folder, tmp_path / "run" / f"checkpoint-{step}")
    code = main(["import-weights", "--from", f"{prefix}{tmp_path / 'run'}",
                 "--out", str(tmp_path / "out")])  # fmt: skip
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1)
    assert f"such as {tmp_path / 'run' / 'checkpoint-100'}" in error


def test_a_class_list_of_another_program_is_read_or_refused(tmp_path: Path, capsys) -> None:
    source = official_file(tmp_path)
    names = [f"thing\xa0{index}" for index in range(40)]
    (tmp_path / "names.txt").write_text("\ufeff" + "\r\n".join(names), encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes(b"t\xfcr\n" * 40)
    command = ["import-weights", "--from", str(source), "--out", str(tmp_path / "out")]
    assert main([*command, "--classes", str(tmp_path / "latin.txt")]) == 2
    assert "expected UTF-8 text" in capsys.readouterr().err
    count = load_file(reference_cases("ctvis/mask2former_tiny_r*.safetensors")[0])
    size = next(t.shape[0] - 1 for name, t in count.items() if "class_embed.weight" in name)
    (tmp_path / "names.txt").write_text("\ufeff" + "\r\n".join(names[:size]), encoding="utf-8")
    assert main([*command, "--classes", str(tmp_path / "names.txt")]) == 0
    assert read_categories(tmp_path / "out").names[0] == "thing 0"
