"""Replays: an image is made again from its manifest, without any cache, and compared."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..cache.file_digests import FileDigests
from ..errors import LatentloomError
from ..files.workspace import Workspace
from ..formats import load_graph
from ..formats.manifest import Manifest, read_manifest
from ..graph.graph import Graph
from ..graph.validate import prepare
from ..node.cancel import CancelToken
from ..node.image_service import ImageComparison, ImageService, image_service
from ..node.registry import Registry
from .environment import read_environment
from .events import OnEvent
from .executor import Engine
from .manifests import resolved_graph
from .requirements import Discrepancy, compare_environments, compare_files, find_present_files

ReplayStatus = Literal["same_file", "same_image", "near", "different", "failed", "cancelled"]
TOLERANCE_LEVELS = 2
"""The largest difference of a value, of 255, between threads and processors; docs/proof.md."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """The outcome of a replay.

    Attributes:
        status: "same_file" for the same bytes; "same_image" where only the texts in the file
            differ; "near" within the tolerance; "different" beyond it, or another size.
        comparison: with the original; None where the bytes are the same, or nothing was made.
        first_node: the first node, in topological order, whose outputs differ as far as both
            manifests know them; empty if none does.
        errors: of the run.
    """

    status: ReplayStatus
    comparison: ImageComparison | None = None
    first_node: str = ""
    errors: tuple[LatentloomError, ...] = ()


def check_replay(manifest: Manifest, registry: Registry, files: Workspace) -> list[Discrepancy]:
    """Return what is missing or differs here, before anything runs."""
    preparation = prepare(manifest.graph, registry, files, [manifest.node])
    present = find_present_files(preparation, FileDigests().digest)
    environment = read_environment(registry)
    return [
        *compare_files(manifest.files, present, preparation.problems),
        *compare_environments(manifest.environment, environment),
    ]


def choose_files(manifest: Manifest, registry: Registry, choices: Iterable[Workspace]) -> Workspace:
    """Return the first of some workspaces that has all input files, else the one with most."""
    best: tuple[int, Workspace] | None = None
    for files in choices:
        preparation = prepare(manifest.graph, registry, files, [manifest.node])
        present = find_present_files(preparation, FileDigests().digest)
        digests, names = {file.sha256 for file in present}, {file.name for file in present}
        # A file that differs is nearer than none.
        missing = sum(
            (file.sha256 not in digests) + (file.name not in names) for file in manifest.files
        )
        if best is None or missing < best[0]:
            best = missing, files
        if not missing:
            break
    assert best is not None
    return best[1]


def replay(
    path: Path,
    registry: Registry,
    files: Workspace,
    tolerance_levels: int = TOLERANCE_LEVELS,
    on_event: OnEvent | None = None,
    cancel: CancelToken | None = None,
) -> Replay:
    """Make an image again, from what is here, and compare it.

    Nothing is taken from a cache, and the new image is in a temporary folder that is removed.

    Args:
        path: an image with a manifest.
        files: the folders of its input files.

    Raises:
        FormatError: the image has no manifest, or one that cannot be read.
        GraphError: its graph cannot run here.
        InputError: an image cannot be read.
    """
    manifest = read_manifest(path, registry)
    with tempfile.TemporaryDirectory(prefix="latentloom-replay-") as folder:
        target = replace(files, output_dir=Path(folder), embeds_graph=True, writes_manifests=False)
        graph = _source_graph(path, manifest, registry, target)
        with Engine(registry) as engine:
            result = engine.run(graph, target, [manifest.node], on_event, cancel)
        if result.status != "done":
            return Replay(status=result.status, errors=result.errors)
        made = [saved for id, saved in result.saved if id == manifest.node]
        return _compare(path, manifest, made, registry, tolerance_levels)


def _source_graph(path: Path, manifest: Manifest, registry: Registry, files: Workspace) -> Graph:
    """Return the graph in the image if it stands for the same nodes: its texts then agree too."""
    try:
        graph = load_graph(path, registry)
        nodes = prepare(graph, registry, files, [manifest.node]).checked().nodes
    except LatentloomError:
        return manifest.graph
    return graph if resolved_graph(nodes) == manifest.graph else manifest.graph


def _compare(
    path: Path, manifest: Manifest, made: list[Path], registry: Registry, tolerance_levels: int
) -> Replay:
    """Return the comparison with the nearest of the files that the node saved."""
    service, original = image_service(registry), path.read_bytes()
    contents = [file.read_bytes() for file in made]
    if original in contents:
        return Replay(status="same_file")
    bare = service.clean(original).data
    first_node = _first_difference(manifest, made[0], registry)
    if bare in [service.clean(data).data for data in contents]:
        return Replay(status="same_image", first_node=first_node)
    comparisons = [_try_compare(service, original, data) for data in contents]
    same_size = [item for item in comparisons if item is not None]
    if not same_size:
        return Replay(status="different", first_node=first_node)
    nearest = min(same_size, key=lambda item: (item.max_levels, item.everything.delta_e))
    status: ReplayStatus = "near" if nearest.max_levels <= tolerance_levels else "different"
    return Replay(status=status, comparison=nearest, first_node=first_node)


def _try_compare(service: ImageService, first: bytes, second: bytes) -> ImageComparison | None:
    try:
        return service.compare(first, second)
    except LatentloomError:
        return None


def _first_difference(manifest: Manifest, made: Path, registry: Registry) -> str:
    again = read_manifest(made, registry)
    for id, node in manifest.nodes.items():
        other = again.nodes.get(id)
        for old, new in zip(node.outputs, other.outputs if other else (), strict=False):
            if None not in (old, new) and old != new:
                return id
    return ""
