"""A graph file of one's own for each test of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.commands import GRADIENT


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A graph that needs no model, and its own folder for inputs and outputs."""
    path = tmp_path / "graph.yaml"
    path.write_text(GRADIENT)
    return path
