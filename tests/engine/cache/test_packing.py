"""Values to trees and back: nothing is lost, nothing unknown is stored or made."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentloom.engine.cache.packing import (
    Array,
    CorruptEntryError,
    Packer,
    UnstorableError,
)
from latentloom.engine.node.context import Saved
from latentloom.engine.node.many import Many

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=()))
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.lists(inner).map(Many)
        | st.dictionaries(st.text(), inner)
    ),
    max_leaves=20,
)


@dataclass(frozen=True)
class Point:
    x: int
    name: str = ""


class Pair(NamedTuple):
    left: Any
    right: Any


PACKER = Packer(records=(f"{__name__}.Point", f"{__name__}.Pair"))


def there_and_back(value: Any) -> Any:
    tree, arrays = PACKER.pack(value)
    return PACKER.unpack(json.loads(json.dumps(tree)), arrays)


@given(VALUES)
def test_plain_values_come_back_with_their_types(value: Any) -> None:
    unpacked = there_and_back(value)
    assert repr(unpacked) == repr(value)
    assert unpacked.__class__ is value.__class__


def test_numbers_that_json_lacks_come_back() -> None:
    unpacked = there_and_back((float("inf"), float("-inf"), float("nan"), -0.0, 10**30))
    assert repr(unpacked) == "(inf, -inf, nan, -0.0, 1000000000000000000000000000000)"


def test_records_that_are_known_come_back() -> None:
    value = (Point(3, "three"), Pair(Many((1, 2)), [Point(4)]))
    assert there_and_back(value) == value


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, b"bytes", {1: "one"}, len, Path("x"), [[{"deep": object()}]], int],
)
def test_a_value_of_an_undeclared_type_is_not_stored(value: Any) -> None:
    with pytest.raises(UnstorableError):
        PACKER.pack(value)


def test_a_value_that_is_nested_too_deeply_is_not_stored() -> None:
    value: Any = 1
    for _ in range(1000):
        value = [value]
    with pytest.raises(UnstorableError, match="nested"):
        PACKER.pack(value)
    tree: Any = 1
    for _ in range(1000):
        tree = {"list": [tree]}
    with pytest.raises(CorruptEntryError):
        PACKER.unpack(tree, [])


@pytest.mark.parametrize(
    "tree",
    [
        [1], {}, {"tuple": 1}, {"tuple": [1], "list": [2]}, {"set": []}, {"array": 0, "of": "x"},
        {"record": "os.system", "fields": {"command": "true"}},
        {"record": "builtins.eval", "fields": {}}, {"record": f"{__name__}.Point", "fields": {}},
        {"record": f"{__name__}.Point", "fields": {"z": 1}}, {"float": "x"}, {"saved": [[1]]},
        {"mapping": 3}, {"array": 9, "of": "torch.Tensor"}, {"record": ["x"], "fields": {}},
    ],
)  # fmt: skip
def test_a_tree_that_pack_did_not_make_is_corrupt(tree: Any) -> None:
    with pytest.raises(CorruptEntryError):
        PACKER.unpack(tree, [Array("F32", (2,), b"12345678")])


def test_saved_files_must_be_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"one")
    tree, _ = PACKER.pack(Saved((file,), "text"))
    assert PACKER.unpack(tree, []) == Saved((file,), "text")
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(CorruptEntryError, match="changed since"):
        PACKER.unpack(tree, [])
    file.unlink()
    with pytest.raises(CorruptEntryError, match="is gone"):
        PACKER.unpack(tree, [])
    with pytest.raises(UnstorableError, match="already gone"):
        PACKER.pack(Saved((file,)))
