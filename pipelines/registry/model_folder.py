"""What a model folder may hold, its digest, and the check that it is what was registered.

    weights.safetensors   tensors only
    system.json           the resolved configuration (config.json and config.yaml do as well)
    categories.json       category ids and names
    README.md, LICENSE…   text, optional

Nothing in it can be executed: no code, no pickle, no sub-folder, no link.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from vis_core.errors import CheckpointError
from vis_core.files import file_sha256

WEIGHTS = "weights.safetensors"
CONFIGS = ("system.json", "config.json", "config.yaml")
CATEGORIES = "categories.json"
_TEXT_SUFFIXES = {".json", ".yaml", ".md", ".txt"}
_TEXT_NAMES = {"LICENSE", "NOTICE"}
_CHUNK = 1 << 20
_LONGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors format itself


@dataclass(frozen=True)
class ModelFolder:
    """Is a folder whose files have been looked at.

    Attributes:
        path: The folder.
        sha256: Digest of each file by its name.
    """

    path: Path
    sha256: dict[str, str]

    @property
    def digest(self) -> str:
        """One sha256 for the whole model: of the lines ``<sha256>  <name>``, sorted by name."""
        lines = "".join(f"{self.sha256[name]}  {name}\n" for name in sorted(self.sha256))
        return hashlib.sha256(lines.encode()).hexdigest()


def read_model_folder(path: Path) -> ModelFolder:
    """Checks the files of a model folder and computes their digests.

    Raises:
        CheckpointError: A file is missing, foreign, or not what its name says.
    """
    if not path.is_dir():
        raise CheckpointError(
            f"{path}: expected a model folder with {WEIGHTS}, but it is not there"
        )
    names = sorted(entry.name for entry in path.iterdir())
    wanted = [WEIGHTS, CATEGORIES]
    missing = [name for name in wanted if name not in names]
    if not any(name in names for name in CONFIGS):
        missing.append(CONFIGS[0])
    if missing:
        raise CheckpointError(
            f"{path}: a model folder holds {WEIGHTS}, {CONFIGS[0]} and {CATEGORIES}, but "
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        )
    for name in names:
        _check_entry(path / name)
    _check_safetensors(path / WEIGHTS)
    _check_json(path / CATEGORIES)
    return ModelFolder(path, {name: file_sha256(path / name) for name in names})


def verify_model_folder(path: Path, expected: dict[str, str], where: str) -> ModelFolder:
    """Checks that a folder holds exactly the files that were registered, bit for bit.

    Args:
        path: The folder.
        expected: The sha256 of each file by its name.
        where: Names the registered version in messages.

    Raises:
        CheckpointError: A file was changed, lost or added.
    """
    folder = read_model_folder(path)
    for name in sorted(expected.keys() | folder.sha256.keys()):
        want, have = expected.get(name), folder.sha256.get(name)
        if want != have:
            raise CheckpointError(
                f"{where}: {name}: expected sha256 {_short(want)}, found {_short(have)}: the "
                "digest is not the registered one, it was changed or damaged; register it again"
            )
    return folder


def _check_entry(entry: Path) -> None:
    """Refuses what is not a plain file of a known, harmless kind."""
    known = entry.name in _TEXT_NAMES | {WEIGHTS} or entry.suffix in _TEXT_SUFFIXES
    if entry.is_symlink() or not entry.is_file() or not known:
        raise CheckpointError(
            f"{entry}: a model folder holds tensors and text only ({WEIGHTS}, .json, .yaml, .md, "
            ".txt; no code, no pickle, no folder, no link); take it out"
        )


def _check_safetensors(path: Path) -> None:
    """Reads the header only: enough to refuse a pickle that was renamed."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        start = file.read(1)
    if size < 10 or length > min(size - 8, _LONGEST_HEADER) or start != b"{":
        raise CheckpointError(
            f"{path}: not a safetensors file ({size} bytes); save the weights with "
            "safetensors.torch.save_file"
        )


def _check_json(path: Path) -> None:
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON: {error}") from error


def _short(digest: str | None) -> str:
    return f"{digest[:16]}…" if digest else "none"
