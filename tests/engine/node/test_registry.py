"""Registries: nodes and extensions of packs, which are skipped if they are broken."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from latentloom.engine.cache.fingerprint import TypeFingerprint
from latentloom.engine.errors import InputError
from latentloom.engine.graph.lint import LintRule
from latentloom.engine.node import registry
from latentloom.engine.node.devices import DeviceListing, DeviceNote, device_notes
from latentloom.engine.node.image_service import ImageService, image_service
from latentloom.engine.node.registry import ENTRY_POINT_GROUP, Registry

GOOD = """
from latentloom.engine.node.spec import node
@node("Doubled", category="test")
def doubled(value: int) -> int:
    return 2 * value
"""
WITH_RULE = (
    GOOD
    + """
from latentloom.engine.graph.lint import rule
@rule("Doubled")
def never(view):
    yield from ()
"""
)
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


def test_a_pack_adds_its_extensions(announce: Announce) -> None:
    announce(ruled_pack=WITH_RULE)
    rules = Registry.from_package("latentloom.nodes").extensions(LintRule)
    assert {"same-seed", "never"} <= {rule.name for rule in rules}


def test_extensions_are_collected_once_and_returned_by_class() -> None:
    first, second = TypeFingerprint("a.A", print), TypeFingerprint("b.B", print)
    service = ImageService()
    both = Registry.of(first, service) | Registry.of(second, first)
    assert both.extensions(TypeFingerprint) == (first, second)
    assert both.extensions(ImageService) == (service,)
    assert both.extensions(DeviceListing) == ()


def test_notes_on_devices_are_listed_where_there_are_any() -> None:
    registry = Registry.of(DeviceNote(lambda: "two GPUs"), DeviceNote(lambda: None))
    assert device_notes(registry) == ["two GPUs"]


def test_the_image_service_of_the_last_pack_is_used() -> None:
    first, last = ImageService(), ImageService()
    assert image_service(Registry.of(first, last)) is last
    with pytest.raises(InputError, match="expected a pack that reads images, got none"):
        image_service(Registry()).clean(b"")


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
