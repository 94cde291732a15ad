"""The table of families, and that nothing outside its folder asks which family a model is of."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from latentloom.diffusion.families.table import ARCHITECTURES, FAMILIES
from tests.paths import ROOT

FOLDERS = ("diffusion", "nodes", "engine", "console", "web")
INSIDE = ROOT / "diffusion" / "families"
NAMES = {family.name for family in FAMILIES}
# Modules of families; what all of them share is not one of these.
SHARED = {"family", "table", "space", "stored", "tensor_info", "added", "image_inputs"}
SHARED |= {
    "conditions",
    "unet",
    "unet_keys",
    "unet_names",
    "unet_sizes",
    "other_unet",
    "patch_sizes",
    "qwen_positions",
}
FAMILY_MODULES = {path.stem for path in INSIDE.glob("*.py")} - SHARED - {"__init__"}


def is_name_of_family(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in NAMES


def is_family(node: ast.expr) -> bool:
    """True for `x.family`, `family.name` and the like."""
    text = ast.unparse(node)
    return text.endswith((".family", "family.name", "architecture.class_name")) or text == "family"


def find_questions(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            members = [
                element
                for side in sides
                for element in (side.elts if isinstance(side, ast.Tuple | ast.Set) else [side])
            ]
            named = [member for member in members if is_name_of_family(member)]
            if named and any(is_family(member) for member in members):
                yield f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.match_case) and "family" in ast.unparse(node.pattern):
            yield f"{path.relative_to(ROOT)}:{node.pattern.lineno}: {ast.unparse(node.pattern)}"
        elif isinstance(node, ast.ImportFrom) and node.module:
            room, _, module = node.module.rpartition(".")
            if room.endswith("families") and module in FAMILY_MODULES:
                yield f"{path.relative_to(ROOT)}:{node.lineno}: imports {node.module}"


def files() -> list[Path]:
    return [
        path
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if INSIDE not in path.parents
    ]


def test_nothing_outside_the_families_asks_which_one_it_is() -> None:
    assert [question for path in files() for question in find_questions(path)] == []


@pytest.mark.parametrize(
    "code",
    [
        'family.name == "sdxl"',
        'model.family.name in ("sd15", "sd21")',
        "from ..families.sdxl import SDXL",
    ],
)
def test_such_questions_are_recognized(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "asked.py").write_text(code)
    assert len(list(find_questions(tmp_path / "asked.py"))) == 1


def test_names_of_families_are_unique() -> None:
    assert len(NAMES) == len(FAMILIES)


def test_families_of_one_architecture_share_its_record() -> None:
    classes = [architecture.class_name for architecture in ARCHITECTURES]
    assert len(classes) == len(set(classes))


def test_latent_spaces_of_one_name_are_equal() -> None:
    spaces = {family.space.name: family.space for family in FAMILIES}
    assert all(family.space == spaces[family.space.name] for family in FAMILIES)
