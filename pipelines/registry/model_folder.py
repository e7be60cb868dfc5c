"""The files of a model folder, their digests, and their comparison with registered digests.

    weights.safetensors   tensors only
    config.json           configuration of the system
    categories.json       category ids and names
    README.md, LICENSE…   text, optional

Nothing in the folder can be executed: it has no code, pickles, subfolders or links.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from vis_core.config.model_files import CATEGORIES_FILE, CONFIG_FILE, WEIGHTS_FILE
from vis_core.errors import CheckpointError
from vis_core.files import file_sha256

_REQUIRED = (WEIGHTS_FILE, CONFIG_FILE, CATEGORIES_FILE)
_TEXT_SUFFIXES = {".json", ".yaml", ".md", ".txt"}
_TEXT_NAMES = {"LICENSE", "NOTICE"}
_MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors format itself


@dataclass(frozen=True)
class ModelFolder:
    """A checked model folder."""

    path: Path
    sha256: dict[str, str]  # of each file, by name

    @property
    def digest(self) -> str:
        """SHA-256 of the whole model, computed from lines ``<sha256>  <name>`` sorted by name."""
        lines = "".join(f"{self.sha256[name]}  {name}\n" for name in sorted(self.sha256))
        return hashlib.sha256(lines.encode()).hexdigest()


def read_model_folder(path: Path) -> ModelFolder:
    """Checks the files of a model folder and computes their digests.

    Raises:
        CheckpointError: If a file is missing or not allowed, or its format does not match its name.
    """
    if not path.is_dir():
        raise CheckpointError(
            f"{path}: expected a model folder with {WEIGHTS_FILE}, but it is not there"
        )
    names = sorted(entry.name for entry in path.iterdir())
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise CheckpointError(
            f"{path}: a model folder holds {WEIGHTS_FILE}, {CONFIG_FILE} and {CATEGORIES_FILE}, "
            f"but {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        )
    for name in names:
        _check_entry(path / name)
    _check_safetensors(path / WEIGHTS_FILE)
    try:
        json.loads((path / CATEGORIES_FILE).read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path / CATEGORIES_FILE}: not JSON: {error}") from error
    return ModelFolder(path, {name: file_sha256(path / name) for name in names})


def verify_model_folder(path: Path, expected: dict[str, str], where: str) -> ModelFolder:
    """Checks that a folder contains exactly the registered files, bit for bit.

    Args:
        path: The folder.
        expected: The SHA-256 of each file, by name.
        where: The registered version, for messages.

    Raises:
        CheckpointError: If a file was changed, removed or added.
    """
    folder = read_model_folder(path)
    for name in sorted(expected.keys() | folder.sha256.keys()):
        registered, actual = expected.get(name), folder.sha256.get(name)
        if registered != actual:
            raise CheckpointError(
                f"{where}: {name}: expected sha256 {_abbreviated(registered)}, found "
                f"{_abbreviated(actual)}: its digest is not the registered one, so the file was "
                "changed or damaged; register the model again"
            )
    return folder


def _check_entry(entry: Path) -> None:
    known = entry.name in _TEXT_NAMES | {WEIGHTS_FILE} or entry.suffix in _TEXT_SUFFIXES
    if entry.is_symlink() or not entry.is_file() or not known:
        raise CheckpointError(
            f"{entry}: a model folder holds tensors and text only ({WEIGHTS_FILE}, .json, .yaml, "
            ".md, .txt; no code, no pickle, no folder, no link); remove it"
        )


def _check_safetensors(path: Path) -> None:
    """Checks only the header, which is enough to reject a renamed pickle."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        start = file.read(1)
    if size < 10 or length > min(size - 8, _MAX_HEADER_BYTES) or start != b"{":
        raise CheckpointError(
            f"{path}: not a safetensors file ({size} bytes); save the weights with "
            "safetensors.torch.save_file"
        )


def _abbreviated(digest: str | None) -> str:
    return f"{digest[:16]}…" if digest else "none"
