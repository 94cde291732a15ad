"""`diff` and `merge`: on files of any form, and as drivers of git."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import GRADIENT, GRAPHS, as_json, run
from tests.paths import ROOT

CONFIGURATION = (
    ("diff.latentloom.command", "latentloom diff --git"),
    ("merge.latentloom.driver", "latentloom merge %O %A %B --output %A"),
)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_changed_value_is_one_line_and_exit_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = write(tmp_path, "a.yaml", GRADIENT)
    new = write(tmp_path, "b.yaml", GRADIENT.replace("height: 16", "height: 20"))
    assert run(capsys, "diff", old, new) == (1, "small.height: 16 -> 20\n", "")
    assert run(capsys, "diff", old, old) == (0, "", "")
    code, result = as_json(capsys, "diff", old, new)
    assert (code, result["status"]) == (1, "different")
    assert result["changes"] == [
        {
            "kind": "input", "node": "small", "input": "height", "old": 16, "new": 20,
            "text": "small.height: 16 -> 20",
        }
    ]  # fmt: skip


def page_of(folder: Path, capsys: pytest.CaptureFixture[str], old: Path, new: Path) -> str:
    page, output = folder / "page.html", folder / "out"
    assert run(capsys, "diff", old, new, "--html", page, "--output", output)[0] == 1
    return page.read_text("utf-8")


def test_a_page_has_both_graphs_with_their_changes_and_loads_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = GRADIENT.replace("height: 16", "height: 20").replace("default: 24", "default: 25")
    changed = changed.replace("  save:", "  '<b>': {node: EmptyImage}\n  save:")
    old, new = write(tmp_path, "a.yaml", GRADIENT), write(tmp_path, "b.yaml", changed)
    page = page_of(tmp_path, capsys, old, new)
    assert "3 differences" in page
    assert page.count("<svg") == 2
    assert ">height: 16</text>" in page
    marked = [line for line in page.splitlines() if 'font-weight="600">height: ' in line]
    assert len(marked) == 2
    assert page.count('font-weight="600">width: ') == 2
    assert "&lt;b&gt;: added, EmptyImage" in page
    assert "<b>" not in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "default-src 'none'" in page
    assert "<img" not in page


def test_a_page_shows_what_both_graphs_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = write(tmp_path, "a.yaml", GRADIENT)
    new = write(tmp_path, "b.yaml", GRADIENT.replace("area", "bicubic"))
    images = []
    for path in (old, new):
        images += run(capsys, "run", path, "--output", tmp_path / "out")[1].split()
    page = page_of(tmp_path, capsys, old, new)
    encoded = [base64.b64encode(Path(image).read_bytes()).decode() for image in images]
    assert re.findall(r"base64,([^\"]+)", page) == encoded
    assert page.count('type="range"') == 1
    of_images = page_of(tmp_path, capsys, Path(images[0]), Path(images[1]))
    assert re.findall(r"base64,([^\"]+)", of_images) == encoded


@pytest.mark.parametrize("name", ["inpaint_passes.yaml", "two_controlnets.yaml"])
@pytest.mark.parametrize("extension", ["api.json", "editor.json", "yaml"])
def test_a_converted_graph_is_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, extension: str
) -> None:
    other = tmp_path / f"other.{extension}"
    assert run(capsys, "convert", GRAPHS / name, other)[0] == 0
    assert run(capsys, "diff", GRAPHS / name, other) == (0, "", "")
    assert run(capsys, "diff", other, GRAPHS / name) == (0, "", "")


def test_what_is_not_a_graph_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "a.yaml", "a: 1\n")
    code, out, err = run(capsys, "diff", path, GRAPHS / "img2img.yaml")
    assert (code, out) == (1, "")
    assert "not a graph" in err
    assert run(capsys, "diff", path)[0] == 2


def test_a_merge_writes_both_changes_and_says_conflicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write(tmp_path, "base.yaml", GRADIENT)
    ours = write(tmp_path, "ours.yaml", GRADIENT.replace("height: 16", "height: 20"))
    theirs = write(tmp_path, "theirs.yaml", GRADIENT.replace("area", "lanczos"))
    code, out, err = run(capsys, "merge", base, ours, theirs)
    assert (code, err) == (0, "")
    assert "height: 20" in out
    assert "lanczos" in out
    theirs.write_text(GRADIENT.replace("height: 16", "height: 24"))
    code, out, err = run(capsys, "merge", base, ours, theirs)
    assert (code, err) == (1, "conflict: small.height: ours 20, theirs 24, before 16\n")
    assert out.startswith("# conflict: small.height: ours 20")
    code, result = as_json(capsys, "merge", base, ours, theirs, "-o", tmp_path / "out.yaml")
    assert (code, result["status"], len(result["conflicts"])) == (1, "conflict", 1)
    assert "height: 20" in (tmp_path / "out.yaml").read_text()


def test_a_side_that_changed_alone_keeps_its_comments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write(tmp_path, "base.yaml", GRADIENT)
    text = "# A comment.\n" + GRADIENT.replace("height: 16", "height: 20")
    side = write(tmp_path, "side.yaml", text)
    assert run(capsys, "merge", base, side, base)[1] == text
    assert run(capsys, "merge", base, base, side)[1] == text


NAMED = ("NAME", "EMAIL")


class Repository:
    """A repository of git whose graphs are compared and merged by this project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "-q", "-b", "main")
        (folder / ".gitattributes").write_text("*.yaml diff=latentloom merge=latentloom\n")
        program = f"'{sys.executable}' -m latentloom.cli"
        for key, command in CONFIGURATION:
            self.git("config", key, command.replace("latentloom", program, 1))

    def git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        roles = [f"GIT_{role}_{what}" for role in ("AUTHOR", "COMMITTER") for what in NAMED]
        who = dict.fromkeys(roles, "a@b")
        return subprocess.run(
            ["git", *arguments], cwd=self.folder, capture_output=True, text=True, timeout=120,
            env={**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull},
        )  # fmt: skip

    def commit(self, text: str, branch: str = "") -> None:
        if branch:
            self.git("checkout", "-q", "-b", branch, "main")
        (self.folder / "graph.yaml").write_text(text)
        self.git("add", "-A")
        assert self.git("commit", "-q", "-m", "a change").returncode == 0


def test_git_compares_and_merges_graphs(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.commit(GRADIENT)
    repository.commit(GRADIENT.replace("height: 16", "height: 20"), "taller")
    repository.commit(GRADIENT.replace("height: 16", "height: 24"), "tallest")
    repository.commit(GRADIENT.replace("area", "lanczos"), "sharper")
    shown = repository.git("diff", "main", "taller").stdout
    assert shown == "graph graph.yaml\n  small.height: 16 -> 20\n"
    assert repository.git("merge", "-q", "--no-edit", "taller").returncode == 0
    merged = (tmp_path / "graph.yaml").read_text()
    assert "height: 20" in merged
    assert "lanczos" in merged
    clash = repository.git("merge", "-q", "--no-edit", "tallest")
    assert clash.returncode == 1
    assert "conflict: small.height: ours 20, theirs 24, before 16" in clash.stderr
    assert repository.git("diff", "--name-only", "--diff-filter=U").stdout == "graph.yaml\n"


def test_git_compares_other_files_line_by_line(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.commit("a: 1\n")
    (tmp_path / "graph.yaml").write_text("a: 2\n")
    shown = repository.git("diff")
    assert shown.returncode == 0
    assert "-a: 1\n+a: 2" in shown.stdout


def test_the_readme_has_the_lines_of_configuration() -> None:
    text = (ROOT / "README.md").read_text()
    for key, command in CONFIGURATION:
        assert f"git config {key} '{command}'" in text
    assert "*.yaml diff=latentloom merge=latentloom" in text
