"""Manifests of the files that a run saves, and files beside images that hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePath

from ..cache.tiers import Tiers
from ..errors import FormatError
from ..formats import save_text
from ..formats.manifest import (
    SUFFIX,
    Environment,
    Manifest,
    NodeRecord,
    UsedFile,
    write_manifest,
)
from ..graph.graph import Graph, Link, Node
from ..graph.prepared import Prepared, Source
from .task import NodeTask

SHOWN_STATES = ("ran", "reused")


def make_manifest(
    tasks: Mapping[str, NodeTask], id: str, environment: Environment, tiers: Tiers
) -> Manifest:
    """Return the manifest of what a node saves; the nodes that it depends on have ended.

    Args:
        tiers: know the outputs of nodes that this run did not need.
    """
    ids = _behind(tasks, id)
    nodes = {}
    for node_id in ids:
        record = tasks[node_id].describe() or tiers.describe(tasks[node_id].key)
        spec = tasks[node_id].node.spec
        unknown = (None,) * len(spec.outputs)
        nodes[node_id] = NodeRecord(
            type=spec.name,
            outputs=record.digests if record is not None else unknown,
            notes=(record.notes if record is not None else None) or {},
        )
    return Manifest(
        node=id,
        graph=resolved_graph({node_id: tasks[node_id].node for node_id in ids}),
        files=used_files((tasks[node_id].node, tasks[node_id].inputs.files) for node_id in ids),
        seeds={
            f"{node_id}.{port.name}": seed
            for node_id in ids
            for port in tasks[node_id].node.spec.inputs
            if port.seeded and isinstance(seed := tasks[node_id].node.literals.get(port.name), int)
        },
        nodes=nodes,
        environment=environment,
    )


def write_manifest_files(
    tasks: Mapping[str, NodeTask],
    environment: Environment,
    tiers: Tiers,
    output_dir: Path,
    seconds: Mapping[str, float | None],
) -> None:
    """Write the manifest of each file that a run saved beside it, with the time of each node.

    Args:
        output_dir: files elsewhere, such as previews, get none.
        seconds: duration of the last call of each node.

    Raises:
        OSError: a file cannot be written.
    """
    root = output_dir.absolute()
    for id, task in tasks.items():
        paths = [path for path in map(Path, task.saved) if path.absolute().is_relative_to(root)]
        if not paths:
            continue
        manifest = make_manifest(tasks, id, environment, tiers)
        nodes = {
            node_id: replace(node, state=_state(tasks[node_id]), seconds=seconds.get(node_id))
            for node_id, node in manifest.nodes.items()
        }
        with suppress(FormatError):
            text = write_manifest(replace(manifest, nodes=nodes), indent=2)
            for path in paths:
                save_text(f"{text}\n", path.with_name(path.name + SUFFIX))


def resolved_graph(nodes: Mapping[str, Prepared]) -> Graph:
    """Return the graph of prepared nodes: every input has its value, files are named as before.

    Files outside the folders of a run have their name alone.
    """
    written = {}
    for id, node in nodes.items():
        inputs: dict[str, object] = {}
        for port in node.spec.inputs:
            name, value = port.name, node.literals.get(port.name)
            if name in node.links:
                inputs[name] = _link(nodes, node.links[name])
            elif name in node.files:
                inputs[name] = public_name(node.files[name].name)
            elif value is not None or port.default is not None:
                inputs[name] = value
        written[id] = Node(node.spec.name, inputs)
    return Graph(nodes=written)


def used_files(nodes: Iterable[tuple[Prepared, Mapping[str, str]]]) -> tuple[UsedFile, ...]:
    """Return the files that nodes read, each once, with the inputs that name it.

    Args:
        nodes: each with the digests of its files by input.
    """
    users: dict[tuple[str, str, str], list[str]] = {}
    for node, digests in nodes:
        for name, file in node.files.items():
            key = kind_of(node, name), public_name(file.name), digests[name]
            users.setdefault(key, []).append(f"{node.id}.{name}")
    return tuple(UsedFile(*key, tuple(used_by)) for key, used_by in users.items())


def kind_of(node: Prepared, name: str) -> str:
    """Return "input" for a file of the workspace, else the kind of model file."""
    port = node.spec.port(name)
    if port is not None and port.file is not None:
        return port.file.kind if port.file.resolve is not None else "input"
    mentioned = [port.mentions.kind for port in node.spec.inputs if port.mentions is not None]
    kinds = mentioned or [port.file.kind for port in node.spec.inputs if port.file is not None]
    return kinds[0] if kinds else "other"


def public_name(name: str) -> str:
    """Return a file's name as a graph may show it: without the folders of an absolute path."""
    return PurePath(name).name if PurePath(name).is_absolute() else name


def _behind(tasks: Mapping[str, NodeTask], id: str) -> list[str]:
    """Return a node and all that it depends on, in the order of the tasks."""
    behind, waiting = {id}, [id]
    while waiting:
        for source in tasks[waiting.pop()].node.links.values():
            if source.node not in behind:
                behind.add(source.node)
                waiting.append(source.node)
    return [other for other in tasks if other in behind]


def _link(nodes: Mapping[str, Prepared], source: Source) -> Link:
    outputs = [output.name for output in nodes[source.node].spec.outputs]
    if source.output >= len(outputs):  # what stands in for a node that is not installed has none
        return Link(source.node, source.output)
    name = outputs[source.output]
    return Link(source.node, name if outputs.count(name) == 1 else source.output)


def _state(task: NodeTask) -> str:
    return task.state if task.state in SHOWN_STATES else "skipped"
