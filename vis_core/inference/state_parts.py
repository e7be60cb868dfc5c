"""Tensors of several parts in one flat table, as files of tensors hold them."""

from collections import defaultdict
from collections.abc import Mapping

from torch import Tensor


def joined_parts(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Puts the name of its part, which has no dot, before the name of each tensor."""
    return {
        f"{part}.{name}": tensor
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
    }


def split_parts(table: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Undoes ``joined_parts``; a part without tensors comes back as none when it is asked for."""
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in table.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    return parts
