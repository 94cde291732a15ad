"""What the readers of keys share: a network's part of a file, and names by their beginnings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .tensor_info import TensorInfo

TensorInfos = Mapping[str, TensorInfo]


@dataclass(frozen=True)
class StoredNetwork:
    """One network of a file.

    Attributes:
        config: what its class is made with.
        names: our name of each of the file's keys.
        split: our names of the equal parts, along the first axis, of keys that hold several.
        transposed: keys of matrices that are stored the other way round.
    """

    config: dict[str, Any]
    names: dict[str, str]
    split: dict[str, tuple[str, ...]] = field(default_factory=dict)
    transposed: frozenset[str] = frozenset()


def count_members(heads: TensorInfos, prefix: str) -> int:
    """How many numbered members a list of modules has."""
    return len({name[len(prefix) :].partition(".")[0] for name in heads if name.startswith(prefix)})


def rename_module(heads: TensorInfos, theirs: str, ours: str) -> dict[str, str]:
    """Our name of each key of a module."""
    return {
        name: ours + name.removeprefix(theirs) for name in heads if name.startswith(f"{theirs}.")
    }


def rename_infos(heads: TensorInfos, names: Mapping[str, str]) -> dict[str, TensorInfo]:
    """The heads of one network, by our names."""
    return {ours: heads[theirs] for theirs, ours in names.items()}
