"""Subgraph blueprints of an installed package, and the version of ComfyUI that is followed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from latentloom.web.blueprints import PACKAGE, find_blueprints
from tests.web.serving import Served, served


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of blueprints of a package that is installed for this test."""
    folder = tmp_path / "packages" / PACKAGE / "blueprints"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    return folder


def blueprint(name: str) -> str:
    return json.dumps({"nodes": [], "definitions": {"subgraphs": [{"id": "a", "name": name}]}})


def test_a_blueprint_is_listed_and_served_with_its_workflow(package: Path, tmp_path: Path) -> None:
    (package / "canny.json").write_text(blueprint("Canny to Image"))
    (package / "broken.json").write_text("{")
    (package / "other.json").write_text('{"definitions": {"subgraphs": []}}')
    (package / "deep.json").write_text("[" * 100_000)

    async def story(api: Served) -> None:
        status, listed = await api.get("/api/global_subgraphs")
        assert status == 200
        ((id, entry),) = listed.items()
        expected = {"source": "templates", "name": "Canny to Image", "info": {"node_pack": PACKAGE}}
        assert entry == expected
        _, held = await api.get(f"/global_subgraphs/{id}")
        assert held == {**expected, "data": blueprint("Canny to Image")}
        (package / "canny.json").unlink()
        assert (await api.get(f"/global_subgraphs/{id}"))[0] == 404
        assert (await api.get("/global_subgraphs/other"))[0] == 404

    served(tmp_path, story)


def test_without_the_package_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentloom.web.blueprints.find_spec", lambda _name: None)
    assert find_blueprints() == {}


@pytest.mark.parametrize(("mode", "version"), [("", "0.33.0"), ("0.3.64", "0.3.64")])
def test_the_server_says_which_comfyui_it_follows(
    mode: str, version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTLOOM_COMFYUI", mode)

    async def story(api: Served) -> None:
        _, stats = await api.get("/system_stats")
        assert stats["system"]["comfyui_version"] == version

    served(tmp_path, story)
