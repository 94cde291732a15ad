"""Native files for the editor, and the editor's as native ones, through the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.web.serving import Served, served


def test_native_files_are_converted_for_the_editor_and_back(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        native = "latentloom: 1\nnodes:\n  n: {node: Number, value: 21}\n"
        status, opened = await api.post("/latentloom/convert", {"text": native, "to": "editor"})
        (node,) = json.loads(opened["text"])["nodes"]
        assert (status, node["type"], node["widgets_values"]) == (200, "Number", [21])
        body = {"text": opened["text"], "to": "yaml"}
        _, exported = await api.post("/latentloom/convert", body)
        assert "  n: {node: Number, value: 21}\n" in exported["text"]
        assert (exported["not_carried"], exported["warnings"]) == ([], [])
        prompt = {"n": {"class_type": "Number", "inputs": {"value": 21, "size": 2}}}
        body = {"text": json.dumps(prompt), "to": "yaml"}
        _, warned = await api.post("/latentloom/convert", body)
        assert "size" in warned["warnings"][0]
        titled = native.replace("nodes:", "title: T\nnodes:")
        _, plain = await api.post("/latentloom/convert", {"text": titled, "to": "comfy"})
        assert plain["not_carried"] == ["the file: the title is left out"]

    served(tmp_path, story)


@pytest.mark.parametrize(
    "body",
    [
        None, {}, {"text": "a"}, {"text": 3, "to": "yaml"}, {"text": "a: [", "to": "yaml"},
        {"text": "{}", "to": ["yaml"]}, {"text": "latentloom: 9", "to": "yaml"},
        {"text": "latentloom: 1\nparts: {p: {import: ../a.yaml}}\nnodes: {}", "to": "editor"},
        {"text": "latentloom: 1\nnodes: {a: {node: Add, a: $a.out}}", "to": "editor"},
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_converted_is_refused(body: Any, tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        status, result = await api.post("/latentloom/convert", body)
        assert (status, bool(result["error"])) == (400, True)

    served(tmp_path, story)
