"""`latentloom replay`: whether an image can be made again, and whether it came out the same."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from latentloom.engine.execution.replay import Replay, check_replay, choose_files, replay
from latentloom.engine.execution.requirements import Discrepancy, discrepancy_to_object
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.formats.manifest import Manifest, read_manifest
from latentloom.engine.node.cancel import CancelToken
from latentloom.engine.node.image_service import ImageComparison
from latentloom.engine.node.registry import Registry

from .interrupts import interrupts
from .progress import reporter
from .views import error_to_objects, to_json

SAME, DIFFERENT, FAILED, CANCELLED = 0, 1, 3, 130


def replay_image(options: argparse.Namespace, registry: Registry, files: Workspace) -> int:
    """Make an image again, or only check that it can be made; return the exit code.

    Args:
        files: its input files are looked for there, next to the image and in this folder.

    Raises:
        FormatError: the image has no manifest.
        OSError: it cannot be read.
    """
    path = Path(options.file)
    manifest = read_manifest(path, registry)
    folders = (path.parent, Path.cwd(), path.absolute().parent.parent)
    choices = [replace(files, graph_dir=folder) for folder in folders]
    chosen = choose_files(manifest, registry, choices)
    differences = check_replay(manifest, registry, chosen)
    is_blocked = any(item.is_blocking for item in differences)
    if options.check or is_blocked:
        _print_check(manifest, differences, options.json)
        return DIFFERENT if is_blocked else SAME
    token = CancelToken()
    with reporter(options.json, manifest.graph) as report, interrupts(token):
        outcome = replay(path, registry, chosen, options.within, report, token)
    _print_outcome(outcome, differences, options.json)
    codes = {"failed": FAILED, "cancelled": CANCELLED, "different": DIFFERENT}
    return codes.get(outcome.status, SAME)


def _print_check(manifest: Manifest, differences: list[Discrepancy], as_json: bool) -> None:
    is_blocked = any(item.is_blocking for item in differences)
    if as_json:
        print(to_json({"status": "blocked" if is_blocked else "ready", **_listed(differences)}))
        return
    for item in differences:
        print(item, file=sys.stderr)
    if is_blocked:
        print("it cannot be made again here", file=sys.stderr)
        return
    models = sum(file.is_model for file in manifest.files)
    print(
        f"it can be made again: {len(manifest.files) - models} input files and {models} model "
        f"files are the same{'' if differences else ', as are all versions and switches'}"
    )


def _print_outcome(outcome: Replay, differences: list[Discrepancy], as_json: bool) -> None:
    if as_json:
        print(to_json(_outcome_to_object(outcome) | _listed(differences)))
        return
    for item in differences:
        print(item, file=sys.stderr)
    for error in outcome.errors:
        print(error, file=sys.stderr)
    print(format_outcome(outcome))


def format_outcome(outcome: Replay) -> str:
    """Return the outcome of a replay as a sentence."""
    if outcome.status == "same_file":
        return "the same bytes"
    if outcome.status == "same_image":
        return "the same bytes of the image; the texts in the file differ"
    if outcome.status in ("failed", "cancelled"):
        return f"the run {outcome.status}" if outcome.status == "failed" else "cancelled"
    node = f"; the first difference is at node {outcome.first_node}" if outcome.first_node else ""
    if outcome.comparison is None:
        return f"different: another size{node}"
    word = "the same within" if outcome.status == "near" else "different: up to"
    return f"{word} {_measured(outcome.comparison)}{node}"


def _measured(comparison: ImageComparison) -> str:
    part = comparison.everything
    return (
        f"{comparison.max_levels} of 255 levels, in {part.changed} of {part.pixels} pixels; "
        f"PSNR {part.psnr_db:.1f} dB, mean delta-E {part.delta_e:.3f}"
    )


def _outcome_to_object(outcome: Replay) -> dict[str, Any]:
    comparison = outcome.comparison
    return {
        "status": outcome.status,
        "max_levels": 0 if comparison is None else comparison.max_levels,
        "psnr_db": None if comparison is None else comparison.everything.psnr_db,
        "delta_e": None if comparison is None else comparison.everything.delta_e,
        "first_node": outcome.first_node,
        "errors": [item for error in outcome.errors for item in error_to_objects(error)],
    }


def _listed(differences: list[Discrepancy]) -> dict[str, Any]:
    return {"differences": [discrepancy_to_object(item) for item in differences]}
