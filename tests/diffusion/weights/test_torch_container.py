"""Damaged, ambiguous and forged torch files are errors, at little cost."""

from __future__ import annotations

import io
import itertools
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.families.tensor_info import FileHeader
from latentloom.diffusion.weights.headers import read_tensor_infos
from latentloom.diffusion.weights.torch_file import read_torch
from tests.torch_files import legacy_file, push, tensor_dict, zip_file


def zip_entries(*entries: tuple[str, bytes], **options: Any) -> bytes:
    """Return a zip of these entries, whatever their names."""
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", **options) as file:
        warnings.simplefilter("ignore")
        for name, content in entries:
            file.writestr(name, content)
    return stream.getvalue()


VALID = ("archive/data.pkl", tensor_dict())
HOSTILE = ("archive/data.pkl", b"\x80\x02cos\nsystem\n" + push("true") + b"\x85R.")
DATA = ("archive/data/0", bytes(16))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zip_entries(VALID, DATA, HOSTILE), "there twice"),
        (zip_entries(HOSTILE, DATA, VALID), "there twice"),
        (zip_entries(VALID, DATA, ("other/data.pkl", HOSTILE[1])), "without weights in torch"),
        (zip_entries(VALID, DATA, ("archive/constants.pkl", b"x")), "a TorchScript program"),
        (zip_entries(VALID, DATA, compression=8), "compressed or encrypted"),
        (zip_entries(("data.pkl", VALID[1]), ("data/0", DATA[1])), "without weights in torch"),
        (zip_entries(("archive/other", b"x")), "without weights in torch"),
        (zip_entries(), "not a complete|cut short|neither"),
        (
            zip_entries(VALID, DATA).replace(b"archive/data/0", b"archive/data/1", 1),
            "has two names",
        ),
        (zip_entries(VALID, DATA).replace(b"\x80\x02}", b"\x80\x02]", 1), "damaged"),
        (b"#!/bin/sh\nexit\n" + zip_entries(VALID, DATA), "neither of torch"),
        (zip_entries(VALID, DATA) + zip_entries(HOSTILE), "overlap or leave gaps"),
        (zip_entries(VALID, DATA) + legacy_file(HOSTILE[1]), "data after its end"),
        (legacy_file(VALID[1]) + zip_entries(HOSTILE), "data after its weights"),
    ],
)
def test_an_ambiguous_zip_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "f.bin").write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        read_tensor_infos(tmp_path / "f.bin")


def make_file(container: str, folder: Path) -> bytes:
    """Return the bytes of a small valid file."""
    path, tensors = folder / "valid.pth", {"a": torch.ones(2, 3), "b": {"c": torch.zeros(1)}}
    torch.save({"state_dict": tensors}, path, _use_new_zipfile_serialization=container == "zip")
    return path.read_bytes()


@pytest.fixture(scope="module", params=["zip", "legacy"])
def attempt(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bytes, Callable[[bytes], FileHeader | None]]:
    """Return a valid file's bytes, and a reader of other bytes; it returns None for errors."""
    folder, numbers = tmp_path_factory.mktemp(request.param), itertools.count()

    def read(content: bytes) -> FileHeader | None:
        path = folder / f"{next(numbers)}.pth"
        path.write_bytes(content)
        try:
            return read_torch(path)
        except ModelFileError:
            return None
        finally:
            path.unlink()

    return make_file(request.param, folder), read


Attempt = tuple[bytes, Callable[[bytes], FileHeader | None]]


def test_every_truncation_is_an_error(attempt: Attempt) -> None:
    content, read = attempt
    assert read(content) is not None
    assert [size for size in range(len(content)) if read(content[:size]) is not None] == []


@given(st.data())
def test_damage_is_an_error_or_leaves_a_readable_file(attempt: Attempt, data: Any) -> None:
    """A zip has checksums of all that is read here; a damaged legacy file may be a valid one."""
    content, read = attempt
    changed = bytearray(content)
    offsets = st.integers(0, len(content) - 1)
    for offset, value in data.draw(
        st.dictionaries(offsets, st.integers(0, 255), min_size=1, max_size=3)
    ).items():
        changed[offset] = value
    damaged, valid = read(bytes(changed)), read(content)
    assert valid is not None
    if damaged is not None:
        assert all(
            0 <= tensor.start <= tensor.start + tensor.span_bytes <= len(content)
            for tensor in damaged.tensors.values()
        )
        assert content[:2] != b"PK" or damaged.tensors == valid.tensors


@given(st.binary(max_size=300), st.sampled_from((b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04\x95")))
def test_random_bytes_are_an_error(attempt: Attempt, data: bytes, start: bytes) -> None:
    assert attempt[1](start + data) is None


def test_a_header_of_a_large_file_costs_little(tmp_path: Path) -> None:
    path = tmp_path / "f.ckpt"
    torch.save({"a": torch.zeros(2**24, dtype=torch.uint8)}, path)
    tracemalloc.start()
    read_tensor_infos(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_sizes_claimed_by_a_zip_are_not_trusted(tmp_path: Path) -> None:
    content = zip_file(tensor_dict())
    end = content.rindex(b"PK\x05\x06")
    for size in (2**24 + 1, 2**32 - 2):
        forged = content[: end + 12] + struct.pack("<I", size) + content[end + 16 :]
        (tmp_path / f"{size}.pth").write_bytes(forged)
        with pytest.raises(ModelFileError):
            read_tensor_infos(tmp_path / f"{size}.pth")
