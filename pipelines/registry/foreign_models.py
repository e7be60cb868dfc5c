"""Conversion of published models into model folders.

Models from the hub or transformers become MinVIS systems; detectron2 checkpoints become the system
that they were trained with. A converted model is cached under the digest of its source.
"""

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.config.loading import digest
from pipelines.redaction import mask_secrets
from vis_core.config.model_files import CONFIG_FILE
from vis_core.errors import CheckpointError, ConfigError, RegistryError, VisError, first_line

if TYPE_CHECKING:
    from vis_core.formats.categories import Categories
    from vis_core.models.systems.base import System

_HUB = "hf:"
_HUB_TIMEOUT_S = 30.0
_HUB_FILES = (CONFIG_FILE, "*.safetensors", "*.safetensors.index.json")
_HUB_PICKLE = "pytorch_model.bin"  # downloaded only if there are no safetensors
CHECKPOINT_SUFFIXES = (".pth", ".pt", ".pkl")


def is_foreign(uri: str) -> bool:
    """Returns whether a model (``hf:<id>``, a checkpoint or a folder) must be converted."""
    path = Path(uri)
    return (
        uri.startswith(_HUB) or path.suffix in CHECKPOINT_SUFFIXES or _is_transformers_folder(path)
    )


def as_model_folder(uri: str, cache: Path, *, backbones: bool = False) -> Path:
    """Converts a foreign model, unless it is already in the cache.

    Args:
        uri: ``hf:<id or folder>``, a transformers folder, or a detectron2 checkpoint.
        cache: Folder for converted models, with one subfolder per model.
        backbones: Whether a backbone alone is accepted, for the start of training.

    Raises:
        RegistryError: If the hub does not answer or has no such model.
        CheckpointError: If the model is unsafe to load or of an unknown kind.
    """
    source = _download(uri.removeprefix(_HUB)) if uri.startswith(_HUB) else Path(uri)
    files = [source] if source.is_file() else sorted(p for p in source.glob("*") if p.is_file())
    if not files:
        raise CheckpointError(f"{source}: no such checkpoint or model folder{_inside(source)}")
    stamp = digest([(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files])
    target = cache / f"imported-{stamp}"
    if not target.is_dir():
        _write_whole(target, _import_model(source), uri)
    if not backbones and "backbone" in json.loads((target / CONFIG_FILE).read_bytes()):
        raise _only_a_backbone(uri)
    return target


def import_weights(source: str, out: Path, classes: str | None) -> list[str]:
    """Converts published weights into a model folder; returns lines that describe the model.

    Args:
        source: See ``as_model_folder``.
        classes: Class names of a detectron2 checkpoint, see ``official_categories``.

    Raises:
        ConfigError: If the folder exists, or the source is of an unknown kind.
        CheckpointError: If the model is unsafe to load or of an unknown kind.
    """
    if out.exists():
        raise ConfigError(f"--out: {out} exists already; name another folder or remove it")
    if not is_foreign(source):
        raise ConfigError(
            f"--from: {source}: expected a .pth or .pkl, a folder with transformers' config.json, "
            f"or hf:<id>{_inside(Path(source))}"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    if Path(source).suffix not in CHECKPOINT_SUFFIXES:
        as_model_folder(source, out.parent).rename(out)
        return [f"{out}: Minvis, which associates the queries of consecutive frames"]
    from vis_core.models.importers.backbones import is_backbone_file
    from vis_core.models.importers.published import system_of
    from vis_core.models.importers.safe_pickle import read_pickled_tensors
    from vis_core.models.systems.build import save_system

    found = read_pickled_tensors(Path(source))
    if is_backbone_file(found):
        raise _only_a_backbone(source)
    system, unused = system_of(found, source)
    categories = official_categories(system.num_classes, classes, source)
    _write_whole(out, lambda folder: save_system(folder, system, categories), source)
    return [
        f"{out}: {type(system).__name__}, {len(categories)} classes",
        f"unused tensors: {', '.join(unused) or 'nothing'}"[:400],
    ]


def _only_a_backbone(source: str) -> CheckpointError:
    return CheckpointError(
        f"{source}: expected a model that segments, found a backbone alone; train a system from it "
        f"with --set start_from={source}"
    )


def write_model_folder(target: Path, system: "System", categories: "Categories") -> None:
    """Writes a model folder, whole or not at all."""
    from vis_core.models.systems.build import save_system

    _write_whole(target, lambda folder: save_system(folder, system, categories))


def _write_whole(target: Path, save: Callable[[Path], None], source: str = "") -> None:
    """Writes a model folder, whole or not at all; loads it first if it comes from ``source``."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}-{uuid.uuid4().hex}")
    try:
        save(scratch)
        if source:
            _check_loads(scratch, source)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_loads(folder: Path, source: str) -> None:
    from vis_core.config.model_files import WEIGHTS_FILE
    from vis_core.models.systems.build import load_system, read_weights

    try:
        if "backbone" in json.loads((folder / CONFIG_FILE).read_bytes()):
            read_weights(folder / WEIGHTS_FILE)
        else:
            load_system(folder, for_training=True)
    except VisError as error:
        reason = str(error).replace(f"{folder}/", "")
        raise CheckpointError(f"{source}: makes a model that cannot be loaded: {reason}") from error


def _inside(folder: Path) -> str:
    """Returns a hint at the last checkpoint in the output folder of transformers' Trainer."""
    steps = [path.parent for path in folder.glob(f"checkpoint-*/{CONFIG_FILE}")]
    last = max(steps, key=lambda path: (len(path.name), path.name), default=None)
    return f"; give a folder inside, such as {last}" if last else ""


def official_categories(count: int, wanted: str | None, source: str) -> "Categories":
    """Finds the class names of a checkpoint that stores only their number.

    Args:
        count: Number of classes in the checkpoint.
        wanted: A public class list, or a text file with one name per line; None means the public
            list with ``count`` classes.
        source: The checkpoint, for messages.

    Raises:
        ConfigError: If the wanted list has another length, or not exactly one public list fits.
    """
    from vis_core.formats.class_maps import CLASS_LISTS

    fitting = [name for name, classes in CLASS_LISTS.items() if len(classes) == count]
    if wanted is None:
        if len(fitting) == 1:
            return CLASS_LISTS[fitting[0]]
        hint = f"{', '.join(fitting)} have as many" if fitting else "no public list has as many"
        raise ConfigError(
            f"{source}: has {count} classes without names ({hint}); name them with "
            "--classes LIST or --classes FILE"
        )
    classes = CLASS_LISTS.get(wanted) or _read_class_list(Path(wanted))
    if len(classes) != count:
        raise ConfigError(
            f"--classes {wanted}: has {len(classes)} classes, but {source} has {count}"
        )
    return classes


def _read_class_list(path: Path) -> "Categories":
    from vis_core.formats.categories import numbered
    from vis_core.formats.class_maps import CLASS_LISTS
    from vis_core.models.importers.transformers_models import clean_name

    if not path.is_file():
        raise ConfigError(
            f"--classes {path}: expected {', '.join(CLASS_LISTS)} or a file of names, found neither"
        )
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--classes {path}: expected UTF-8 text with one name per line ({error})"
        ) from error
    return numbered([name for name in map(clean_name, text.splitlines()) if name])


def _import_model(source: Path) -> Callable[[Path], None]:
    """Reads a model or a backbone; returns a function that writes it as a folder."""
    from functools import partial

    from vis_core.formats.categories import unnamed_categories
    from vis_core.models.importers import backbones
    from vis_core.models.importers.published import system_of
    from vis_core.models.importers.safe_pickle import read_pickled_tensors
    from vis_core.models.importers.transformers_models import import_transformers, read_config
    from vis_core.models.layers.backbone import FAMILIES
    from vis_core.models.systems.build import save_system

    if not source.is_file():
        if read_config(source)[0] in FAMILIES:
            backbone = backbones.import_backbone_folder(source)
            return partial(backbones.save_backbone, backbone=backbone)
        minvis, categories = import_transformers(source)
        return partial(save_system, system=minvis, categories=categories)
    found = read_pickled_tensors(source)
    if backbones.is_backbone_file(found):
        backbone = backbones.backbone_of(found, str(source))
        return partial(backbones.save_backbone, backbone=backbone)
    system, _ = system_of(found, str(source))
    try:
        categories = official_categories(system.num_classes, None, str(source))
    except ConfigError:
        # enough to start training from; ``import-weights --classes`` sets the names
        categories = unnamed_categories(system.num_classes)
    return partial(save_system, system=system, categories=categories)


def _download(name: str) -> Path:
    """Downloads a model from the hub; a local folder is returned unchanged."""
    if not name:
        raise ConfigError(f"{_HUB}: expected an id like organisation/model or a folder after it")
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import HfApi, snapshot_download

    # HTTPError comes from the hub's HTTP client and is not re-exported explicitly
    from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]

    try:
        # snapshot_download makes the same request, but without a timeout
        revision = HfApi().model_info(name, timeout=_HUB_TIMEOUT_S).sha
        files = list(_HUB_FILES)
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=files))
        if not list(folder.glob("*.safetensors")):
            files.append(_HUB_PICKLE)
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=files))
        return folder
    except HFValidationError as error:
        raise ConfigError(
            f"{_HUB}{name}: neither an id like organisation/model nor a folder"
        ) from error
    except (HTTPError, OSError, ValueError) as error:
        raise RegistryError(
            f"{_HUB}{name}: the download from the hub failed ({_reason(error):.200}); check the id "
            "and the network, or download it elsewhere and give its folder"
        ) from error


def _reason(error: Exception) -> str:
    """Returns an error's first line without secrets, since servers may repeat the user's token."""
    from huggingface_hub import get_token

    text, token = first_line(error), get_token()
    return mask_secrets(text.replace(token, "***") if token else text)


def _is_transformers_folder(folder: Path) -> bool:
    try:
        return "model_type" in json.loads((folder / CONFIG_FILE).read_bytes())
    except (OSError, ValueError, TypeError):
        return False
