"""Names in graphs stay inside their folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentloom.engine.files import workspace
from latentloom.engine.files.folder import read_inside
from latentloom.engine.files.workspace import (
    FOLLOW_LINKS_VARIABLE,
    UnsafePathError,
    Workspace,
    safe_path,
)

STEPS = ["..", "../..", "a/../..", "a/../../b", "./..", "..//", "a/b/../../.."]
ABSOLUTE = ["/etc/passwd", "//host/share", "~/x", "~root/x", "/"]
WINDOWS = ["C:\\x", "C:x", "c:/x", "\\\\host\\share", "a\\..\\b", "\\x", "..\\x", "a/..\\..\\b"]
RESERVED = ["CON", "con.png", "a/NUL", "aux.txt", "COM1", "lpt9.png", "prn", "Com¹.png"]
EXTENSIONS = ["a.", "a ", "a./b", "a /b", "...", " ", "a/...", "a/ "]
CONTROLS = [f"a{chr(code)}b" for code in (0, 1, 7, 9, 10, 13, 27, 31, 127)]
MARKS = ["a<b", "a>b", 'a"b', "a|b", "a?b", "a*b", "a:b", "a::$DATA", "a\u202egnp.exe", "\u2066a"]
LONG = ["a" * 256, "a/" * 600, "é" * 200, ""]
SURROGATES = ["\ud800", "a\udfffb"]
SUFFIXED = [f"{step}/secret.txt" for step in STEPS] + [f"{step} [output]" for step in STEPS]
UNSAFE = [
    *STEPS, *ABSOLUTE, *WINDOWS, *RESERVED, *EXTENSIONS, *CONTROLS, *MARKS, *LONG, *SURROGATES,
    *SUFFIXED, *[f"sub/{name}" for name in (*RESERVED, *WINDOWS, *MARKS, *CONTROLS)],
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder `in` with images, next to a file outside of it."""
    inside = tmp_path / "in"
    (inside / "sub").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    (inside / "a.png").write_text("a")
    (inside / "sub" / "b.png").write_text("b")
    return inside


def test_the_corpus_is_large_enough() -> None:
    assert len(set(UNSAFE)) >= 100


@pytest.mark.parametrize("name", UNSAFE)
def test_no_name_leads_out(folder: Path, name: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError)):
        Workspace(input_dir=folder).resolve("input", name)


@pytest.mark.parametrize("name", ["a.png", "sub/b.png", "./a.png", "a.png [input]"])
def test_plain_names_are_found(folder: Path, name: str) -> None:
    assert Workspace(input_dir=folder).resolve("input", name).is_file()


@pytest.mark.parametrize("name", ["%2e%2e/secret.txt", "..%2fsecret.txt", "．．/secret.txt"])
def test_encoded_steps_are_plain_names(folder: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        Workspace(input_dir=folder).resolve("input", name)


def test_a_link_out_of_the_folder_is_not_followed(folder: Path) -> None:
    (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
    with pytest.raises(ValueError, match="a link out of in"):
        safe_path(folder, "link.txt")


def test_links_that_lead_to_each_other_are_refused(folder: Path) -> None:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    with pytest.raises((ValueError, FileNotFoundError)):
        Workspace(input_dir=folder).resolve("input", "a")


def test_the_graphs_folder_comes_first(folder: Path, tmp_path: Path) -> None:
    graphs = tmp_path / "graphs"
    graphs.mkdir()
    (graphs / "a.png").write_text("graphs")
    path = Workspace(graph_dir=graphs, input_dir=folder).resolve("input", "a.png")
    assert path.read_text() == "graphs"


def test_a_granted_path_may_be_anywhere(folder: Path) -> None:
    secret = folder.parent / "secret.txt"
    granted = Workspace(input_dir=folder, granted=frozenset({secret}))
    assert granted.resolve("input", str(secret)) == secret
    with pytest.raises(ValueError, match="not relative"):
        granted.resolve("input", "/etc/passwd")


def test_a_missing_file_names_where_it_was_looked_for(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"'no.png' in .*in"):
        Workspace(input_dir=folder).resolve("input", "no.png")


def test_a_name_from_windows_is_found(folder: Path) -> None:
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "sub" / "deep" / "b.png").write_text("b")
    workspace = Workspace(input_dir=folder)
    assert workspace.resolve("input", "sub\\deep\\b.png") == folder / "sub/deep/b.png"
    for name in ("..\\secret.txt", "sub\\..\\..\\secret.txt", "\\secret.txt", "C:\\secret.txt"):
        with pytest.raises(UnsafePathError):
            workspace.resolve("input", name)


def test_links_out_are_followed_where_the_user_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = folder.parent / "disk"
    disk.mkdir()
    (disk / "c.png").write_text("c")
    (folder / "linked").symlink_to(disk)
    (folder / "d.png").symlink_to(disk / "c.png")
    workspace = Workspace(input_dir=folder)
    for name in ("linked/c.png", "d.png"):
        with pytest.raises(UnsafePathError, match="--follow-links"):
            workspace.resolve("input", name)
    monkeypatch.setenv(FOLLOW_LINKS_VARIABLE, "1")
    for name in ("linked/c.png", "d.png"):
        assert workspace.resolve("input", name) == (disk / "c.png").resolve()
        assert read_inside(folder, name, 9) == b"c"


@pytest.mark.parametrize("name", UNSAFE)
def test_no_name_leads_out_where_links_are_followed(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLLOW_LINKS_VARIABLE, "1")
    with pytest.raises((ValueError, FileNotFoundError)):
        Workspace(input_dir=folder).resolve("input", name)
    with pytest.raises((ValueError, FileNotFoundError)):
        read_inside(folder, name, 99)


def test_names_of_files_are_listed_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("b.png", "a.png", "sub/c.png", ".hidden/d.png"):
        (tmp_path / name).touch()
    folders = Workspace(input_dir=tmp_path, output_dir=tmp_path / "none")
    assert folders.names("input") == ("a.png", "b.png", "sub/c.png")
    assert folders.names("output") == ()
    monkeypatch.setattr(workspace, "MAX_NAMES", 2)
    assert folders.names("input") == ("a.png", "b.png")
