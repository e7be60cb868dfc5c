"""Every hostile annotation, result and image file has the outcome given in its manifest."""

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT, data_dir_or_none

pytestmark = [pytest.mark.data, pytest.mark.usefixtures("data_dir")]

KIND_OF_SUITE = {
    "coco_json": "coco",
    "ytvis_json": "youtube_vis",
    "ytvis_results": "results",
    "image": "image",
}
OUTCOMES_OF_MORE = {
    "ok": {"accept"},
    "refuse": {"reject"},
    "ok_with_warning": {"accept_with_warning"},
    "ok_or_refuse": {"accept", "accept_with_warning", "reject"},
}


def _manifest_cases(folder: Path) -> Iterator[dict]:
    manifest = json.loads((folder / "manifest.json").read_text())
    entries = manifest.get("entries") or manifest.get("files") or []
    limits = manifest.get("limits_default", {})
    for entry in entries:
        kind = KIND_OF_SUITE.get(entry["kind"])
        if kind is None:
            continue
        argv = ["validate", str(folder / entry["file"]), "--kind", kind]
        if kind in ("coco", "youtube_vis"):
            argv += ["--images", str(folder / entry.get("images_root", "."))]
        if "ground_truth" in entry:
            argv += ["--gt", str(folder / entry["ground_truth"])]
        yield {
            "name": f"{folder.name}/{entry['file']}",
            "argv": argv,
            "rss_mb": {**limits, **entry.get("limits", {})}.get("rss_mb", 1024),
            "seconds": {**limits, **entry.get("limits", {})}.get("seconds", 10),
            "allowed": {entry["expect"], *entry.get("also_ok", [])},
            "must_name": entry.get("must_name", []),
        }


def _expected_cases(folder: Path) -> Iterator[dict]:
    for name, entry in json.loads((folder / "expected.json").read_text()).items():
        part = name.split("/")[0]
        if part not in ("annotations", "images"):
            continue
        path = folder / name
        argv = ["validate", str(path)]
        text = path.read_bytes()[:400]
        if part == "annotations":
            kind = "coco"
            if Path(name).name.startswith("ytvis_"):
                kind = "results" if text.lstrip()[:1] == b"[" else "youtube_vis"
            argv += ["--kind", kind]
            argv += ["--images", str(folder / "images")] if kind == "coco" else []
        yield {
            "name": f"{folder.name}/{name}",
            "argv": argv,
            "rss_mb": entry.get("max_rss_mb", 1024),
            "seconds": entry.get("max_s", 10),
            "allowed": OUTCOMES_OF_MORE[entry["outcome"]],
            "must_name": [*entry.get("must_mention", []), path.name],
            "must_not_name": entry.get("must_not_mention", []),
        }


@cache
def _all_cases() -> dict[str, dict]:
    data = data_dir_or_none()
    if data is None:
        return {}
    cases = [*_manifest_cases(data / "hostile"), *_expected_cases(data / "hostile_more")]
    return {case["name"]: case for case in cases}


@cache
def _outcomes() -> dict[str, dict]:
    wanted = [{key: case[key] for key in ("name", "argv", "rss_mb", "seconds")}
              for case in _all_cases().values()]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.run_cases"],
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["name"]: line for line in lines}


def _class_of(outcome: dict) -> str:
    if outcome["exit_code"] == 2:
        return "reject"
    warned = ": warning: " in outcome["text"] or "the first one is used" in outcome["text"]
    return "accept_with_warning" if warned else "accept"


@pytest.mark.parametrize("name", sorted(_all_cases()))
def test_a_hostile_file_ends_as_expected(name: str) -> None:
    case, outcome = _all_cases()[name], _outcomes()[name]
    text = outcome["text"]
    assert outcome["signal"] == 0, text[-500:]
    assert outcome["exit_code"] in (0, 2), text[-500:]
    assert "Traceback" not in text
    assert outcome["seconds"] <= case["seconds"]
    assert outcome["rss_mb"] <= case["rss_mb"]
    assert outcome["left_behind"] == []
    ended = _class_of(outcome)
    assert ended in case["allowed"], text
    if ended != "accept":
        for word in case["must_name"]:
            assert word in text, f"{word!r} is not in {text!r}"
    for word in case.get("must_not_name", []):
        assert word not in text


def test_the_hostile_files_are_found() -> None:
    assert len(_all_cases()) > 100
