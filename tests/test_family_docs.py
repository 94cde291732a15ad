"""The graphs of docs/families.md have no mistakes but the model files that are not installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import latentloom
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "families.md").read_text("utf-8")
GRAPHS = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("text", GRAPHS)
def test_a_graph_of_the_page_lacks_only_its_files(text: str, tmp_path: Path) -> None:
    path = tmp_path / "graph.yaml"
    path.write_text(text, "utf-8")
    problems = latentloom.check(latentloom.load(path))
    files = {"unet_name", "clip_name1", "clip_name2", "vae_name", "image"}
    assert {problem.port for problem in problems} == files
    assert {problem.kind for problem in problems} <= {"file", "not_in_list"}
