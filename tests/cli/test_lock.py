"""`lock`, `--locked`, `pack` and `models --find`: what differs is refused, with the difference."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from latentloom.engine.errors import FormatError
from latentloom.engine.formats.lock_file import parse_lock, write_lock
from tests.cli.commands import as_json, run
from tests.paths import ROOT

MODEL = """\
latentloom: 1
nodes:
  load: {node: VAELoader, vae_name: small}
  photo: {node: LoadImage, image: photo.png}
  encode: {node: VAEEncode, pixels: $photo.IMAGE, vae: $load.VAE}
  save: {node: SaveLatent, samples: $encode.LATENT}
"""


@pytest.fixture
def locked(graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A graph beside its input file and its lock."""
    photo = (ROOT / "graphs" / "inputs" / "house.png").read_bytes()
    (tmp_path / "photo.png").write_bytes(photo)
    graph.write_text(graph.read_text().replace("inputs/house.png", "photo.png"))
    code, out, _ = run(capsys, "lock", graph)
    assert (code, out) == (0, f"{graph}.lock\n")
    return graph


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder with an autoencoder that is not installed elsewhere."""
    folder = tmp_path / "models" / "vae"
    shutil.copytree(ROOT / "models" / "demo" / "vae", folder / "small")
    with (folder / "small" / "config.json").open("a") as config:
        config.write("\n")
    monkeypatch.setenv("LATENTLOOM_MODELS", str(folder.parent))
    return folder


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    lock = json.loads(path.read_text())
    edit(lock)
    path.write_text(json.dumps(lock))


def test_a_lock_names_inputs_by_digest_and_versions(locked: Path) -> None:
    lock = json.loads(Path(f"{locked}.lock").read_text())
    (file,) = lock["files"]
    assert (file["kind"], file["names"], file["used_by"]) == (
        "input", ["photo.png"], ["photo.image"],
    )  # fmt: skip
    assert file["bytes"] == (locked.parent / "photo.png").stat().st_size
    assert lock["libraries"]["torch"]
    assert "machine" not in lock


@pytest.mark.torch
def test_what_the_lock_says_runs(
    locked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "check", locked, "--locked")[0] == 0
    assert run(capsys, "run", locked, "--locked", "--output", tmp_path / "out")[0] == 0


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lock: lock["libraries"].update(torch="1.0"), "library torch: expected 1.0, got "),
        (lambda lock: lock["packs"].update(mine="3"), "pack mine: expected 3, got absent"),
        (lambda lock: lock["program"].update(version="9"), "latentloom: expected 9, got "),
        (
            lambda lock: lock["switches"].update(LATENTLOOM_FAST="off"),
            "environment variable LATENTLOOM_FAST: expected off, got it unset",
        ),
        (
            lambda lock: lock["files"][0].update(sha256="ab" * 32),
            "input photo.png: expected the file with SHA-256 abababababab..., got another, 579f",
        ),
        (
            lambda lock: lock["files"].clear(),
            "input photo.png: expected a file that is in the lock",
        ),
    ],
)
def test_what_differs_is_refused_with_the_difference(
    edit: Callable[[dict[str, Any]], None],
    message: str,
    locked: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(Path(f"{locked}.lock"), edit)
    for command in ("run", "check"):
        code, out, err = run(capsys, command, locked, "--locked")
        assert (code, out) == (1, "")
        assert message in err
    _, result = as_json(capsys, "check", locked, "--locked")
    assert len(result["errors"]) == 1


def test_another_python_runs_what_is_locked(
    locked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(Path(f"{locked}.lock"), lambda lock: lock["program"].update(python="3.99"))
    assert run(capsys, "check", locked, "--locked")[0] == 0


def test_a_missing_lock_is_said_with_the_remedy(
    graph: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "check", graph, "--locked")
    assert code == 1
    assert "expected a lock file, got none; write it: latentloom lock FILE" in err


def test_a_model_counts_by_its_content(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(MODEL)
    (tmp_path / "photo.png").write_bytes((ROOT / "graphs/inputs/house.png").read_bytes())
    code, _, err = run(capsys, "lock", path)
    assert (code, err) == (0, "")
    lock = json.loads(Path(f"{path}.lock").read_text())
    (digest,) = [file["sha256"] for file in lock["files"] if file["kind"] == "vae"]
    _, listed = as_json(capsys, "models", "--find", digest[:10])
    assert listed["models"] == [{"kind": "vae", "name": "small", "sha256": digest}]

    (models / "small").rename(models / "other")
    code, _, err = run(capsys, "run", path, "--locked")
    assert code == 1
    assert "models/vae small: expected the file with SHA-256" in err
    remedy = "--set load.vae_name=other"
    assert f"the same file is installed as other: {remedy}" in err
    path.write_text(MODEL.replace("small", "other"))
    assert run(capsys, "check", path, "--locked")[0] == 0


def test_a_hash_that_no_model_has(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "models", "--find", "0123456789")[0::2] == (
        1, "no installed model has the SHA-256 0123456789\n",
    )  # fmt: skip
    code, _, err = run(capsys, "models", "--find", "xyz")
    assert code == 1
    assert "expected the first 8 to 64 hexadecimal digits of a SHA-256, got 'xyz'" in err


@pytest.mark.torch
def test_a_pack_runs_elsewhere_or_says_what_is_missing(
    locked: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    photo = tmp_path / "private" / "mine.png"
    photo.parent.mkdir()
    photo.write_bytes((ROOT / "graphs" / "inputs" / "lake.png").read_bytes())
    given = ("--input", f"photo={photo}", "--output", tmp_path / "out")
    assert run(capsys, "run", locked, *given)[0] == 0
    folder = tmp_path / "packed"
    code, out, _ = run(capsys, "pack", locked, "-o", folder, *given)
    assert (code, out) == (0, f"{folder}/graph.yaml\n")
    names = {path.name for path in folder.iterdir()}
    assert names == {"graph.yaml", "graph.yaml.lock", "mine.png", "preview.jpg"}
    with Image.open(folder / "preview.jpg") as preview:
        assert preview.format == "JPEG"
    assert not [p for p in folder.glob("graph*") if "private" in p.read_text()]

    photo.unlink()
    monkeypatch.chdir(tmp_path / "out")
    assert run(capsys, "run", folder / "graph.yaml", "--locked")[0] == 0
    (folder / "mine.png").unlink()
    code, _, err = run(capsys, "run", folder / "graph.yaml", "--locked")
    assert code == 1
    assert "input mine.png: expected the file with SHA-256" in err
    assert ", got none" in err
    code, _, err = run(capsys, "pack", locked, "-o", folder)
    assert "expected a new or empty folder, got one that is not empty" in err


LOCK = {
    "latentloom_lock": 1,
    "program": {"version": "1", "code": "a", "python": "3"},
    "libraries": {"torch": "2"}, "packs": {}, "switches": {},
    "files": [{"kind": "vae", "names": ["a"], "sha256": "a" * 64, "bytes": 1, "used_by": ["b.c"]}],
}  # fmt: skip
VALUES = st.none() | st.integers(-2, 2) | st.text(max_size=4) | st.lists(st.text(max_size=3))


@settings(max_examples=60)
@given(path=st.integers(0, 30), value=VALUES, is_key=st.booleans())
def test_a_damaged_lock_is_read_or_refused(path: int, value: Any, is_key: bool) -> None:
    damaged = json.loads(json.dumps(LOCK))
    spots = [(damaged, key) for key in damaged]
    spots += [(damaged["program"], key) for key in damaged["program"]]
    spots += [(damaged["files"][0], key) for key in damaged["files"][0]]
    parent, key = spots[path % len(spots)]
    if is_key:
        parent[f"{key}2"] = parent.pop(key)
    else:
        parent[key] = value
    with suppress(FormatError):
        lock = parse_lock(json.dumps(damaged))
        assert parse_lock(write_lock(lock)) == lock
