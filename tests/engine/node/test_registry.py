"""Packs of nodes: found by their entry points, and skipped if they are broken."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from latentloom.engine.node import registry
from latentloom.engine.node.registry import ENTRY_POINT_GROUP, Registry

GOOD = """
from latentloom.engine.node.spec import node
@node("Doubled", category="test")
def doubled(value: int) -> int:
    return 2 * value
"""
Announce = Callable[..., None]


@pytest.fixture
def announce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Announce:
    """Install modules with these sources as packs."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(**sources: str) -> None:
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        points = [EntryPoint(name, name, ENTRY_POINT_GROUP) for name in sources]
        monkeypatch.setattr(registry, "entry_points", lambda group: points)

    return install


def test_a_pack_adds_its_nodes(announce: Announce) -> None:
    announce(good_pack=GOOD)
    assert {"Doubled", "KSampler"} <= Registry.from_package("latentloom.nodes").keys()


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("pack_raises", "raise RuntimeError('boom')", "RuntimeError: boom ("),
        ("pack_lacks", "import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
        ("pack_cut", "def (", "SyntaxError: invalid syntax"),
        ("pack_twice", GOOD.replace("Doubled", "KSampler"), "two nodes are named KSampler"),
        ("pack_bare", GOOD.replace("value: int", "value"), "it has no type annotation"),
    ],
)
def test_a_broken_pack_is_skipped_with_its_name_and_the_reason(
    name: str, source: str, said: str, announce: Announce, caplog: pytest.LogCaptureFixture
) -> None:
    announce(**{name: source, f"{name}_and_good": GOOD})
    assert {"Doubled", "KSampler"} <= Registry.from_package("latentloom.nodes").keys()
    (record,) = caplog.records
    assert f"the pack {name} is skipped: " in record.getMessage()
    assert said in record.getMessage()
