"""`latentloom test`: the expectations of graph files, as lines, as JSON and as JUnit's XML."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from latentloom.engine.errors import LatentloomError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.execution.expectations import ExpectationResult, check_expectations
from latentloom.engine.formats import load_graph
from latentloom.engine.graph.library import find_file
from latentloom.engine.node.cancel import CancelToken

from .interrupts import interrupts
from .opening import open_workspace
from .views import to_json

PASSED, FAILED, CANCELLED = 0, 1, 130
UNPRINTABLE = {code: " " for code in range(32) if chr(code) not in "\t\n\r"}


@dataclass(frozen=True, kw_only=True)
class FileResult:
    """The outcome of the expectations of one file; `error` is why none could be checked."""

    name: str
    results: Sequence[ExpectationResult] = ()
    error: str = ""
    seconds: float = 0.0

    @property
    def is_passed(self) -> bool:
        """True if all its expectations are met."""
        return not self.error and all(result.is_met for result in self.results)


def run_tests(options: argparse.Namespace, engine: Engine) -> int:
    """Test graph files, print each outcome, and return the exit code.

    Files without expectations are named, and pass; it fails if no file has any.
    """
    token, outcomes = CancelToken(), list[FileResult]()
    with interrupts(token):
        for name in options.files:
            if token.is_set():
                return CANCELLED
            outcome = _test_file(options, name, engine, token)
            outcomes.append(outcome)
            if not options.json:
                _print(outcome)
    count = sum(len(outcome.results) for outcome in outcomes)
    failed = sum(not result.is_met for outcome in outcomes for result in outcome.results)
    failed += sum(bool(outcome.error) for outcome in outcomes)
    if options.junit:
        Path(options.junit).write_bytes(to_junit(outcomes))
    if options.json:
        print(to_json({"status": "failed" if failed else "done", "files": _objects(outcomes)}))
    elif count:
        print(f"{count - failed} of {count} expectations met" if not failed else f"{failed} failed")
    if not count and not failed:
        print("expected files with `expect:`, got none", file=sys.stderr)
    if token.is_set():
        return CANCELLED
    return FAILED if failed or not count else PASSED


def _test_file(
    options: argparse.Namespace, name: str, engine: Engine, token: CancelToken
) -> FileResult:
    start = time.perf_counter()
    try:
        path = find_file(name)
        graph = load_graph(path, engine.registry)
        files = open_workspace(options, path)
        results = check_expectations(engine, graph, files, None, token, options.update)
    except (LatentloomError, OSError) as error:
        return FileResult(name=name, error=str(error), seconds=time.perf_counter() - start)
    return FileResult(name=name, results=results, seconds=time.perf_counter() - start)


def _print(outcome: FileResult) -> None:
    if outcome.error:
        print(f"{outcome.name}: failed\n  {_indented(outcome.error)}")
    elif not outcome.results:
        print(f"{outcome.name}: no expectations")
    for result in outcome.results:
        state = "met" if result.is_met else f"failed\n  {_indented(result.reason)}"
        print(f"{outcome.name}: {result.expectation}: {state}", flush=True)


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


def to_junit(outcomes: Sequence[FileResult]) -> bytes:
    """Return the outcomes as JUnit's XML: a suite for each file, a case for each expectation."""
    root = ElementTree.Element("testsuites")
    for outcome in outcomes:
        failed = sum(not result.is_met for result in outcome.results)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=_xml(outcome.name),
            tests=str(len(outcome.results) + bool(outcome.error)),
            failures=str(failed),
            errors=str(int(bool(outcome.error))),
            time=f"{outcome.seconds:.3f}",
        )
        if outcome.error:
            _add_case(suite, outcome.name, "the file", "error", outcome.error)
        for result in outcome.results:
            _add_case(suite, outcome.name, str(result.expectation), "failure", result.reason)
    data: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return data


def _add_case(suite: ElementTree.Element, name: str, title: str, kind: str, reason: str) -> None:
    case = ElementTree.SubElement(suite, "testcase", classname=_xml(name), name=_xml(title))
    if reason:
        problem = ElementTree.SubElement(case, kind, message=_xml(reason.partition("\n")[0]))
        problem.text = _xml(reason)


def _xml(text: str) -> str:
    """Return text without the characters that XML cannot hold."""
    return text.translate(UNPRINTABLE).encode("utf-8", "replace").decode("utf-8")


def _objects(outcomes: Sequence[FileResult]) -> list[dict[str, Any]]:
    return [
        {
            "file": outcome.name,
            "status": "passed" if outcome.is_passed else "failed",
            "error": outcome.error,
            "expectations": [
                {
                    "target": result.expectation.target,
                    "expected": str(result.expectation),
                    "met": result.is_met,
                    "reason": result.reason,
                }
                for result in outcome.results
            ],
        }
        for outcome in outcomes
    ]
