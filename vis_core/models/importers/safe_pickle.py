"""Reading of tensors from pickled checkpoints without running the file's code.

Two formats are read: zip files from ``torch.save`` (since torch 1.6) and detectron2's plain pickles
of NumPy arrays. A pickle is a program; the reader permits only a few constructors.
``torch.load(weights_only=True)`` permits more: a 1 kB pickle that allocates 2 GB, a tensor with
5e10 values backed by one stored number, and compressed storages.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vis_core.errors import CheckpointError

_multiarray: Any = np._core.multiarray  # type: ignore[attr-defined]  # has the constructors in NumPy's pickles
_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def read_pickled_tensors(path: Path) -> dict[str, Tensor]:
    """Reads dense tensors under ``model``, ``state_dict`` or ``blobs``, or at the top.

    Raises CheckpointError if the file is missing or truncated, contains anything but tensors and
    plain containers, or declares more data than it has.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: expected a checkpoint, found no file; check the path")
    try:
        root = _read_zip(path) if zipfile.is_zipfile(path) else _read_plain(path)
        return _tensors_of(root, path)
    except CheckpointError:
        raise
    except (
        pickle.UnpicklingError, zipfile.BadZipFile, EOFError, OSError, MemoryError, ValueError,
        TypeError, KeyError, IndexError, AttributeError, OverflowError, RuntimeError, ImportError,
    ) as error:  # fmt: skip
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'cut'}"
        raise CheckpointError(
            f"{path}: expected a checkpoint of torch.save or of NumPy arrays, found a file that "
            f"cannot be read ({reason:.200}); copy it again"
        ) from error


def _tensors_of(root: Any, path: Path) -> dict[str, Tensor]:
    for key in ("model", "state_dict", "blobs"):
        if isinstance(root, Mapping) and isinstance(root.get(key), Mapping):
            root = root[key]
    if not isinstance(root, Mapping):
        raise CheckpointError(
            f"{path}: expected a mapping of names to tensors, found {type(root).__name__}"
        )
    found = {}
    for name, value in root.items():
        if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fiub":
            found[str(name)] = torch.from_numpy(np.array(value))
        elif isinstance(value, Tensor):
            found[str(name)] = value
    if not found:
        raise CheckpointError(
            f"{path}: holds no tensor under model, state_dict, blobs or at its top"
        )
    return found


def _read_plain(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(64)
        if b"l\xfc\x9cF\xf9 j\xa8P\x19." in head:  # the magic number of torch.save before 1.6
            raise CheckpointError(
                f"{path}: expected a checkpoint of torch 1.6 or newer, found an older format; load "
                "and save it with a newer torch"
            )
        file.seek(0)
        return _Reader(file, path).load()


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
        if packed:
            raise CheckpointError(
                f"{path}: expected stored entries as torch.save writes them, found {packed[0]} "
                "compressed; download the file again"
            )
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise CheckpointError(f"{path}: declares more bytes than the file has; copy it again")
        (program,) = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
        folder = program.filename.removesuffix("data.pkl")
        with archive.open(program) as file:
            return _Reader(io.BytesIO(file.read()), path, archive, folder).load()


class _Reader(pickle.Unpickler):
    """An unpickler with a closed list of constructors."""

    def __init__(
        self, file: Any, path: Path, archive: zipfile.ZipFile | None = None, folder: str = ""
    ) -> None:
        super().__init__(file, encoding="latin1")
        self._path, self._archive, self._folder = path, archive, folder
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        listed = _NUMPY if self._archive is None else _TORCH
        known = listed.get((module.replace("numpy._core", "numpy.core"), name))
        if known is None:
            raise CheckpointError(
                f"{self._path}: expected tensors and plain containers only, found a call of "
                f"{module}.{name}, which is not run; get a file with the weights alone, or write "
                'one if you trained it: torch.save({"model": checkpoint["model"]}, "weights.pth")'
            )
        return known

    def persistent_load(self, pid: Any) -> Any:
        kind, dtype, key, _, count = pid
        if kind != "storage" or self._archive is None:
            raise CheckpointError(
                f"{self._path}: expected references to storages, found another one"
            )
        if key not in self._storages:
            raw = self._archive.read(f"{self._folder}data/{key}")
            if len(raw) != count * dtype.itemsize:
                raise CheckpointError(
                    f"{self._path}: storage {key} has {len(raw)} bytes, expected "
                    f"{count * dtype.itemsize}; copy the file again"
                )
            # a copy, because the archive's bytes are read-only
            values = torch.frombuffer(bytearray(raw), dtype=dtype) if raw else None
            self._storages[key] = torch.empty(0, dtype=dtype) if values is None else values
        return self._storages[key]


def _rebuild_tensor(
    storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Tensor:
    """Rebuilds a tensor as torch does, but rejects one with more values than its storage has."""
    count = math.prod(size)
    if count == 0:
        return storage.new_empty(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if min(offset, *size, *stride, 0) < 0 or last >= len(storage) or count > len(storage):
        raise ValueError(
            f"a tensor of {'x'.join(map(str, size))} does not fit its {len(storage)} stored values"
        )
    return storage.as_strided(size, stride, offset).clone()


def _rebuild_parameter(data: Tensor, *_: Any) -> Tensor:
    return data


_Constructors = dict[tuple[str, str], Callable[..., Any]]
_SCALARS: _Constructors = {
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "scalar"): _multiarray.scalar,
    ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
}
_TORCH: _Constructors = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): torch.Size,
    **_SCALARS,
}
_NUMPY: _Constructors = {
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy.core.multiarray", "_reconstruct"): _multiarray._reconstruct,
    **_SCALARS,
}
