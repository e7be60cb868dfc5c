"""A run's tags in the tracking store, which describe its code, data and machine."""

import hashlib
import json
import platform
import subprocess
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from pipelines.data.run_data import RunData
from vis_core.files import file_sha256

_SOURCE = Path(str(files("pipelines"))).resolve().parent


def run_facts(data: RunData) -> dict[str, str]:
    """Collects the tags; the commit's tag is named as MLflow's pages expect."""
    facts = {
        "longtake.version": version("longtake"),
        "longtake.data": data_fingerprint(data),
        "longtake.machine": f"{platform.system()} {platform.machine()}",
        **{f"longtake.{name}": version(name) for name in ("torch", "ray", "transformers")},
    }
    commit = git_commit(_SOURCE)
    return facts | ({"mlflow.source.git.commit": commit} if commit else {})


def git_commit(folder: Path) -> str:
    """Returns a checkout's commit, with ``-dirty`` if files changed; empty outside a checkout."""
    try:
        top = _git(folder, "rev-parse", "--show-toplevel")
        if Path(top) != folder:
            return ""  # an installed package inside another checkout
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
        return _git(folder, "rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def data_fingerprint(data: RunData) -> str:
    """Computes a digest of annotations and classes; hashing the images too would take hours."""
    fingerprint = hashlib.sha256(json.dumps(data.categories.to_json()).encode())
    if data.class_map:
        fingerprint.update(json.dumps(dict(data.class_map.names)).encode())
    videos = data.videos
    for path in dict.fromkeys((data.images.annotations, videos.train, videos.val, videos.test)):
        fingerprint.update(bytes.fromhex(file_sha256(path)))
    return fingerprint.hexdigest()[:16]


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.check_output(
        command, stderr=subprocess.DEVNULL, text=True, timeout=10
    ).strip()
