"""What a run was made of, for its run in the tracking store: code, data, machine."""

import hashlib
import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from pipelines.data.run_data import RunData

_SOURCE = Path(__file__).resolve().parents[2]


def run_facts(data: RunData) -> dict[str, str]:
    """Collects the facts, as tags; the commit under the name that MLflow's pages know."""
    facts = {
        "longtake.version": version("longtake"),
        "longtake.data": data_fingerprint(data),
        "longtake.machine": f"{platform.system()} {platform.machine()}",
        **{f"longtake.{name}": version(name) for name in ("torch", "ray", "transformers")},
    }
    commit = git_commit(_SOURCE)
    return facts | ({"mlflow.source.git.commit": commit} if commit else {})


def git_commit(folder: Path) -> str:
    """Gives the commit of a checkout, with ``-dirty`` if files differ; empty if it is none."""
    try:
        top = _git(folder, "rev-parse", "--show-toplevel")
        if Path(top) != folder:
            return ""  # an installed package inside somebody else's checkout
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
        return _git(folder, "rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def data_fingerprint(data: RunData) -> str:
    """Names the data: a digest of its annotation files, its classes and the frames they name.

    The pictures themselves are not read: that would take hours on a large set.
    """
    found = hashlib.sha256(json.dumps(data.categories.to_json()).encode())
    videos = data.videos
    for path in dict.fromkeys((data.images.annotations, videos.train, videos.val, videos.test)):
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()[:16]


def _git(folder: Path, *words: str) -> str:
    answer = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True
    )
    return answer.stdout.strip()
