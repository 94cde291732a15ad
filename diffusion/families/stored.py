"""Shared by the readers of keys: a network of a file, and names by prefix. No torch here.

"Ours" are diffusers' and transformers' names, "theirs" the names in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .tensor_info import TensorInfo

TensorInfos = Mapping[str, TensorInfo]
# The name and the number of elements of each parameter of a network.
Parameters = Iterator[tuple[str, int]]
# From the configuration of a network to its parameters.
ParameterSizes = Callable[[Mapping[str, Any]], Parameters]


class OriginalLayer(NamedTuple):
    """Our layers that are one in the original code.

    Attributes:
        names: several where the original joins them, one below the other.
        is_swapped: its two halves, on the first axis, are the other way round.
    """

    names: tuple[str, ...]
    is_swapped: bool = False


# From our layers to those by the original code's name.
OriginalLayers = Callable[[Iterable[str]], Mapping[str, OriginalLayer]]


@dataclass(frozen=True)
class StoredNetwork:
    """One network of a file: how to build it, and which key is which of its weights.

    Attributes:
        config: the arguments of its class.
        names: our name of each of the file's keys.
        split: our names for each key that holds several weights, joined on the first axis.
        transposed: keys of matrices that are stored transposed.
        swapped: keys of weights whose two halves on the first axis are the other way round.
        class_name: of diffusers' network; empty for the usual one of its kind.
    """

    config: dict[str, Any]
    names: dict[str, str]
    split: dict[str, tuple[str, ...]] = field(default_factory=dict)
    transposed: frozenset[str] = frozenset()
    swapped: frozenset[str] = frozenset()
    class_name: str = ""


def count_members(infos: Iterable[str], prefix: str) -> int:
    """Return the length of the module list whose keys begin with a prefix."""
    return len({name[len(prefix) :].partition(".")[0] for name in infos if name.startswith(prefix)})


def has_keys(infos: TensorInfos, prefix: str, *names: str) -> bool:
    """Return True if a file has these keys after a prefix."""
    return all(prefix + name in infos for name in names)


def rename_module(infos: TensorInfos, theirs: str, ours: str) -> dict[str, str]:
    """Return our name of each key of a module."""
    return {
        name: ours + name.removeprefix(theirs) for name in infos if name.startswith(f"{theirs}.")
    }


def rename_infos(infos: TensorInfos, names: Mapping[str, str]) -> dict[str, TensorInfo]:
    """Return the tensors of one network under our names."""
    return {ours: infos[theirs] for theirs, ours in names.items()}
