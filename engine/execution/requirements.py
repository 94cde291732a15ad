"""Compares the files, versions and switches that a manifest or a lock names with those here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import Problem
from ..formats.manifest import Environment, UsedFile
from ..graph.prepared import Preparation
from .manifests import used_files

DiscrepancyKind = Literal[
    "missing_input", "changed_input", "missing_model", "changed_model", "not_locked", "problem",
    "version", "switch", "machine",
]  # fmt: skip
SHORT_DIGEST = 12
NAMES = {"input": "input", "other": "file"}


@dataclass(frozen=True, kw_only=True)
class Discrepancy:
    """A difference between what is named and what is here.

    Attributes:
        kind: a stable word for programs.
        subject: the file, library or switch; with `expected`, `got` and `hint` as in Problem.
    """

    kind: DiscrepancyKind
    subject: str
    expected: str
    got: str
    hint: str = ""

    @property
    def is_blocking(self) -> bool:
        """True if what is here cannot give the same result; other differences may not matter."""
        return self.kind not in ("version", "switch", "machine")

    def __str__(self) -> str:
        text = f"{self.subject}: expected {self.expected}, got {self.got}"
        return f"{text}\n  try:     {self.hint}" if self.hint else text


def discrepancy_to_object(item: Discrepancy) -> dict[str, str]:
    """Return a discrepancy as an object."""
    return {
        "kind": item.kind,
        "subject": item.subject,
        "expected": item.expected,
        "got": item.got,
        "hint": item.hint,
        "message": str(item),
    }


def find_present_files(
    preparation: Preparation, digest: Callable[[Path], str]
) -> tuple[UsedFile, ...]:
    """Return the files that a graph names and that are here.

    Args:
        digest: of files whose port has no digest function.
    """
    return used_files(
        (node, {name: (file.digest or digest)(file.path) for name, file in node.files.items()})
        for node in preparation.nodes.values()
    )


def compare_files(
    named: Iterable[UsedFile], present: Iterable[UsedFile], problems: Iterable[Problem]
) -> list[Discrepancy]:
    """Return what is missing or differs of the named files, and problems of the graph.

    Args:
        present: what `find_present_files` returned.
        problems: of preparing the graph; those of missing files are said by file.
    """
    digests: dict[tuple[str, str], set[str]] = {}
    for file in present:
        digests.setdefault((file.kind, file.name), set()).add(file.sha256)
    differences: list[Discrepancy] = []
    reported: set[str] = set()
    for file in named:
        known = digests.get((file.kind, file.name), set())
        if file.sha256 not in known:
            differences.append(_compare_file(file, known))
            reported.update(file.used_by)
    return differences + [
        Discrepancy(
            kind="problem",
            subject=f"{problem.type} ({problem.node}) .{problem.port}".removesuffix(" ."),
            expected=problem.expected,
            got=problem.got,
            hint=problem.hint,
        )
        for problem in problems
        if f"{problem.node}.{problem.port}" not in reported
    ]


def compare_environments(named: Environment, present: Environment) -> list[Discrepancy]:
    """Return the versions and switches that differ, and the machine where both name one."""
    program = [
        Discrepancy(kind="version", subject=name, expected=old, got=new)
        for name, old, new in (
            ("latentloom", named.version, present.version),
            ("source of latentloom and its packs", named.code, present.code),
            ("Python", named.python, present.python),
        )
        if old != new
    ]
    libraries = _compare_versions("library", named.libraries, present.libraries)
    packs = _compare_versions("pack", named.packs, present.packs)
    switches = [
        Discrepancy(
            kind="switch",
            subject=f"environment variable {name}",
            expected=named.switches.get(name) or "it unset",
            got=present.switches.get(name) or "it unset",
        )
        for name in sorted(named.switches.keys() | present.switches.keys())
        if named.switches.get(name, "") != present.switches.get(name, "")
    ]
    machine = [
        Discrepancy(kind="machine", subject=name, expected=value, got=present.machine[name])
        for name, value in named.machine.items()
        if name in present.machine and present.machine[name] != value
    ]
    return [*program, *libraries, *packs, *switches, *machine]


def _compare_file(file: UsedFile, digests: set[str]) -> Discrepancy:
    short = file.sha256[:SHORT_DIGEST]
    subject = f"{NAMES.get(file.kind, f'models/{file.kind}')} {file.name}"
    expected = f"the file with SHA-256 {short}..."
    hint = f"`latentloom models --find {short}` looks for it under other names"
    if digests:
        got = f"another, {sorted(digests)[0][:SHORT_DIGEST]}..."
        return Discrepancy(
            kind="changed_model" if file.is_model else "changed_input",
            subject=subject,
            expected=expected,
            got=got,
            hint=hint if file.is_model else "",
        )
    return Discrepancy(
        kind="missing_model" if file.is_model else "missing_input",
        subject=subject,
        expected=expected,
        got="none",
        hint=f"put it into models/{file.kind}; {hint}" if file.is_model else "see --input-dir",
    )


def _compare_versions(
    word: str, named: Mapping[str, str], present: Mapping[str, str]
) -> list[Discrepancy]:
    return [
        Discrepancy(
            kind="version",
            subject=f"{word} {name}",
            expected=named.get(name, "absent"),
            got=present.get(name, "absent"),
        )
        for name in sorted(named.keys() | present.keys())
        if named.get(name, "absent") != present.get(name, "absent")
    ]
