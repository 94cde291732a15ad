"""constraints.txt pins each package once, and every direct requirement."""

from __future__ import annotations

import re
import tomllib
from collections import Counter

import pytest

from tests.paths import ROOT

LINES = [
    line
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
REQUIREMENTS = [
    *PROJECT["dependencies"],
    *(line for extra in PROJECT["optional-dependencies"].values() for line in extra),
]


def normal_name(requirement: str) -> str:
    match = re.match(r"[\w.-]*\w", requirement)
    assert match is not None, requirement
    return re.sub(r"[-_.]+", "-", match.group()).lower()


# torch for CUDA pins the Triton that it was built with.
UNPINNED = {"triton"}
PINNED = Counter(normal_name(line) for line in LINES)


def test_each_line_pins_one_exact_version() -> None:
    assert [line for line in LINES if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []


def test_no_package_is_pinned_twice() -> None:
    assert [name for name, count in PINNED.items() if count > 1] == []


@pytest.mark.parametrize("name", sorted({normal_name(line) for line in REQUIREMENTS} - UNPINNED))
def test_every_requirement_is_pinned(name: str) -> None:
    assert name in PINNED
