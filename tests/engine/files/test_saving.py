"""Numbered files: inside the folder, written atomically, never replacing one another."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.engine.files.saving import (
    PrefixError,
    Target,
    check_prefix,
    expand_prefix,
    next_number,
    prepare_target,
    write_numbered,
)
from latentloom.engine.files.workspace import FOLLOW_LINKS_VARIABLE

NOON = datetime(2024, 5, 6, 7, 8, 9)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("ComfyUI", "ComfyUI"),
        ("%width%x%height%", "640x480"),
        ("%year%-%month%-%day% %hour%.%minute%.%second%", "2024-05-06 07.08.09"),
        ("%date:yyyy-MM-dd%/x", "2024-05-06/x"),
        ("%date:yy_M_d_h_m_s%", "24_5_6_7_8_9"),
        ("%date:hhmmss%", "070809"),
        ("100%", "100%"),
        ("%unknown%", "%unknown%"),
    ],
)
def test_tokens_are_filled_in(prefix: str, expected: str) -> None:
    assert expand_prefix(prefix, 640, 480, NOON) == expected


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("a", "a"),
        ("sub/a", "sub/a"),
        ("sub\\a", "sub/a"),
        ("sub/", "sub"),
        ("a/../b", "b"),
        ("./a", "a"),
        ("a?b*c", "a_b_c"),
        ("07:08", "07_08"),
        ("a:b?", "a_b_"),
        ("c:a", "c_a"),
        ("c:", "c_"),
        ("sub/c:/a", "sub/c_/a"),
        ("~a", "_a"),
        ("~/a", "_/a"),
        ("höhe 漢字", "höhe 漢字"),
    ],
)
def test_prefixes_inside_the_folder(prefix: str, expected: str) -> None:
    assert check_prefix(prefix) == expected


@pytest.mark.parametrize(
    ("prefix", "got"),
    [
        ("../a", "leaves it"),
        ("a/../../b", "leaves it"),
        ("..", "leaves it"),
        ("..\\a", "leaves it"),
        ("/etc/a", "absolute"),
        ("\\\\host\\share\\a", "absolute"),
        ("C:\\a", "absolute"),
        ("c:/a", "absolute"),
        ("", "names no file"),
        ("a/..", "names no file"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("\ud800", "control"),
        ("x" * 201, "xxx"),
        ("漢" * 67, "漢"),
        ("con/a", "reserved"),
        ("NUL.txt", "reserved"),
        ("a./b", "dot or space"),
        ("a\u202egnp", "not allowed"),
    ],
)
def test_prefixes_that_name_no_file_inside_are_refused(prefix: str, got: str) -> None:
    with pytest.raises(PrefixError) as refused:
        check_prefix(prefix)
    assert got in refused.value.got


@settings(max_examples=300, deadline=None)
@given(st.text("ab./\\: %~-_", max_size=12))
def test_no_prefix_leaves_the_folder(prefix: str) -> None:
    try:
        path = check_prefix(prefix)
    except PrefixError:
        return
    root = Path("out").resolve()
    assert root in (root / path).resolve().parents


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "away").symlink_to(tmp_path)
    with pytest.raises(PrefixError, match="leaves it"):
        prepare_target("away/a", tmp_path / "out")


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    target = prepare_target("a/b", tmp_path / "out")
    assert write_numbered(target, b"x", 1)[0] == tmp_path / "real" / "a" / "b_00001_.png"


def test_numbers_count_on_from_what_is_there(tmp_path: Path) -> None:
    names = (
        "a_00007_.png",
        "a_00012_.webp",
        "ab_00090_.png",
        "a_x_.png",
        "a_1.png",
        "b_00050_.png",
    )
    for name in names:
        (tmp_path / name).touch()
    assert next_number(Target(tmp_path, "", "a")) == 13
    assert next_number(Target(tmp_path, "", "c")) == 1


def test_a_file_is_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    path, number = write_numbered(Target(tmp_path, "", "a"), b"data", 1)
    assert (path.name, number, path.read_bytes()) == ("a_00001_.png", 1, b"data")
    assert list(tmp_path.iterdir()) == [path]


def test_a_taken_number_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a_00001_.png").write_bytes(b"mine")
    path, number = write_numbered(Target(tmp_path, "", "a"), b"data", 1)
    assert (path.name, number) == ("a_00002_.png", 2)
    assert (tmp_path / "a_00001_.png").read_bytes() == b"mine"


def _no_links(_part: str, _path: str, **_how: object) -> None:
    raise OSError(errno.EPERM, "no links here")


@pytest.mark.parametrize("links", [True, False])
def test_many_writers_at_once_lose_nothing(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", os.link if links else _no_links)
    target = Target(tmp_path, "", "a")

    def write(index: int) -> Path:
        return write_numbered(target, str(index).encode(), next_number(target))[0]

    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(write, range(40)))
    assert len(set(paths)) == 40
    assert [path.read_bytes() for path in paths] == [str(index).encode() for index in range(40)]
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write_numbered(Target(tmp_path, "", "a"), b"data", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_linked_folder_is_written_to_where_the_user_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("out", "disk"):
        (tmp_path / name).mkdir()
    (tmp_path / "out" / "linked").symlink_to(tmp_path / "disk")
    monkeypatch.setenv(FOLLOW_LINKS_VARIABLE, "1")
    target = prepare_target("linked/new/a", tmp_path / "out")
    path, _ = write_numbered(target, b"x", next_number(target))
    assert path == tmp_path / "out" / "linked" / "new" / "a_00001_.png"
    assert (tmp_path / "disk" / "new" / "a_00001_.png").read_bytes() == b"x"
    assert next_number(target) == 2
