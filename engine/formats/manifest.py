"""Manifests: the record of how a file was made, as JSON. docs/proof.md describes the fields."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FormatError
from ..files.folder import read_resolved
from ..files.image_formats import is_image_name
from ..graph.graph import Graph
from ..graph.literal import describe_value
from ..node.spec import NodeSpec
from .image_texts import MANIFEST, read_texts
from .native import read_native, to_native
from .native_values import refuse_unreadable
from .parsing import MAX_BYTES, parse_json
from .schema import DRAFT
from .shape import Shape, check_shape

VERSION = 1
SUFFIX = ".manifest.json"
SHA256: Shape = {
    "type": "string",
    "pattern": "^[0-9a-f]{64}$",
    "description": "a SHA-256 of 64 hexadecimal digits",
}
TEXT: Shape = {"type": "string"}
TEXTS: Shape = {"type": "object", "additionalProperties": TEXT}
PORTS: Shape = {"type": "array", "items": TEXT, "description": "node.input, one or several"}
PROGRAM: Shape = {
    "type": "object",
    "required": ["version", "code", "python"],
    "properties": {
        "version": TEXT,
        "code": TEXT | {"description": "digest of the source that results depend on"},
        "python": TEXT,
    },
}
_FILE: Shape = {
    "type": "object",
    "required": ["name", "sha256", "used_by"],
    "properties": {"name": TEXT, "sha256": SHA256, "used_by": PORTS},
}
_MODEL: Shape = {
    "type": "object",
    "required": ["kind", *_FILE["required"]],
    "properties": {"kind": TEXT, **_FILE["properties"]},
}
_NODE: Shape = {
    "type": "object",
    "required": ["type", "outputs"],
    "properties": {
        "type": TEXT,
        "outputs": {
            "type": "array",
            "items": {"anyOf": [SHA256, {"type": "null"}]},
            "description": "digests of the outputs; null where they were not known",
        },
        "notes": {"type": "object", "additionalProperties": {"type": "array"}},
        "state": {"enum": ["ran", "reused", "skipped"]},
        "seconds": {"anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}]},
    },
}
MANIFEST_SCHEMA: Shape = {
    "$schema": DRAFT,
    "title": "A manifest of Latentloom",
    "type": "object",
    "required": [
        "latentloom_manifest", "node", "graph", "inputs", "models", "seeds", "nodes", "program",
        "libraries", "packs", "machine", "switches",
    ],
    "properties": {
        "latentloom_manifest": {"const": VERSION},
        "node": TEXT | {"description": "the node that saved the file"},
        "graph": {"type": "object", "description": "a native graph: the nodes behind the file"},
        "inputs": {"type": "array", "items": _FILE},
        "models": {"type": "array", "items": _MODEL},
        "seeds": {"type": "object", "additionalProperties": {"type": "integer"}},
        "nodes": {"type": "object", "additionalProperties": _NODE},
        "program": PROGRAM,
        "libraries": TEXTS,
        "packs": TEXTS,
        "machine": TEXTS,
        "switches": TEXTS,
    },
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Versions, switches and a machine: all that results depend on besides files.

    Attributes:
        version: of this program.
        code: digest of the source of all packs that declare it.
        python: version of the interpreter.
        libraries, packs: versions by name.
        machine: device, processor and threads that compute; empty if not asked for.
        switches: values of environment variables that results depend on.
    """

    version: str
    code: str
    python: str
    libraries: Mapping[str, str]
    packs: Mapping[str, str]
    machine: Mapping[str, str]
    switches: Mapping[str, str]


@dataclass(frozen=True)
class UsedFile:
    """A file that a graph used.

    Attributes:
        kind: "input", or the folder of a model file, such as "checkpoints".
        sha256: of its bytes; for a folder, of the names and digests of its files.
        used_by: `node.input`, for each input that names it.
    """

    kind: str
    name: str
    sha256: str
    used_by: tuple[str, ...]

    @property
    def is_model(self) -> bool:
        """True for a model file, False for an input file."""
        return self.kind != "input"


@dataclass(frozen=True, kw_only=True)
class NodeRecord:
    """The outputs of a node and the course of its call.

    Attributes:
        outputs: digests of its outputs; None where they were not known.
        notes: what its call said of itself, such as its sigmas.
        state, seconds: how it came by its outputs, and how long its call took; only in files
            beside images, since they differ from run to run.
    """

    type: str
    outputs: tuple[str | None, ...]
    notes: Mapping[str, Sequence[Any]]
    state: str | None = None
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The record of how a file was made.

    Attributes:
        node: the node that saved it.
        graph: that node and all that it depends on, with every input's value.
        files: input files and model files.
        seeds: by `node.input`.
        nodes: in topological order.
    """

    node: str
    graph: Graph
    files: tuple[UsedFile, ...]
    seeds: Mapping[str, int]
    nodes: Mapping[str, NodeRecord]
    environment: Environment


def manifest_to_object(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as plain values.

    Raises:
        FormatError: a value of the graph cannot be written.
    """
    inputs = [_file_to_object(file) for file in manifest.files if not file.is_model]
    models = [
        {"kind": file.kind, **_file_to_object(file)} for file in manifest.files if file.is_model
    ]
    nodes = {id: _node_to_object(node) for id, node in manifest.nodes.items()}
    content = {
        "latentloom_manifest": VERSION,
        "node": manifest.node,
        "graph": to_native(manifest.graph),
        "inputs": inputs,
        "models": models,
        "seeds": dict(manifest.seeds),
        "nodes": nodes,
        **environment_to_object(manifest.environment),
    }
    return refuse_unreadable(content)


def write_manifest(manifest: Manifest, indent: int | None = None) -> str:
    """Return a manifest as JSON.

    Raises:
        FormatError: a value of the graph cannot be written.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    content = manifest_to_object(manifest)
    return json.dumps(content, ensure_ascii=False, indent=indent, separators=separators)


def environment_to_object(environment: Environment) -> dict[str, Any]:
    """Return an environment as the fields of a manifest."""
    return {
        "program": {
            "version": environment.version,
            "code": environment.code,
            "python": environment.python,
        },
        "libraries": dict(environment.libraries),
        "packs": dict(environment.packs),
        "machine": dict(environment.machine),
        "switches": dict(environment.switches),
    }


def read_environment_from(data: Mapping[str, Any]) -> Environment:
    """Return the environment in the checked fields of a manifest or a lock."""
    return Environment(
        **{name: data["program"][name] for name in ("version", "code", "python")},
        libraries=data["libraries"],
        packs=data["packs"],
        machine=data.get("machine", {}),
        switches=data["switches"],
    )


def parse_manifest(text: str, specs: Mapping[str, NodeSpec] | None = None) -> Manifest:
    """Parse a manifest.

    Raises:
        FormatError: it is not one, or of a later version.
    """
    data = parse_json(text)
    check_version(data, "latentloom_manifest", VERSION, "the manifest")
    check_shape(data, MANIFEST_SCHEMA, "the manifest")
    files = [
        UsedFile(item.get("kind", "input"), item["name"], item["sha256"], tuple(item["used_by"]))
        for key in ("inputs", "models")
        for item in data[key]
    ]
    nodes = {
        id: NodeRecord(
            type=node["type"],
            outputs=tuple(node["outputs"]),
            notes=node.get("notes", {}),
            state=node.get("state"),
            seconds=node.get("seconds"),
        )
        for id, node in data["nodes"].items()
    }
    graph = read_native(data["graph"], specs)
    if data["node"] not in graph.nodes:
        expected = "a node of its graph"
        raise FormatError(f"the manifest, node: expected {expected}, got {data['node'][:80]!r}")
    return Manifest(
        node=data["node"],
        graph=graph,
        files=tuple(files),
        seeds=data["seeds"],
        nodes=nodes,
        environment=read_environment_from(data),
    )


def read_manifest(path: Path, specs: Mapping[str, NodeSpec] | None = None) -> Manifest:
    """Return the manifest in an image, in a file beside one, or beside it under its name.

    Raises:
        FormatError: there is none, or it cannot be read.
        OSError: the file cannot be read.
    """
    text = read_texts(path).get(MANIFEST) if is_image_name(path) else _read(path)
    file = path.with_name(path.name + SUFFIX)
    if text is None and file.is_file():
        text, path = _read(file), file
    if text is None:
        raise FormatError(
            f"{path.name}: expected an image with a manifest, got one without; images saved by an "
            "earlier version or with --no-metadata have none, and a JPEG only if it fits"
        )
    try:
        return parse_manifest(text, specs)
    except FormatError as error:
        raise FormatError(f"{path.name}: {error}") from error


def check_version(data: Any, key: str, version: int, where: str) -> None:
    """Check the version of a parsed file.

    Raises:
        FormatError: it is not such a file, or of a later version.
    """
    got = data.get(key) if isinstance(data, Mapping) else None
    if type(got) is int and got > version:
        later = "a later release wrote it; update latentloom"
        raise FormatError(f"{where}: expected `{key}: {version}`, got {got}: {later}")
    if type(got) is not int or got != version:
        raise FormatError(f"{where}: expected `{key}: {version}`, got {describe_value(got)}")


def _read(path: Path) -> str:
    try:
        return read_resolved(path.resolve(), MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path.name}: expected text in UTF-8: {error.reason}") from error


def _file_to_object(file: UsedFile) -> dict[str, Any]:
    return {"name": file.name, "sha256": file.sha256, "used_by": list(file.used_by)}


def _node_to_object(node: NodeRecord) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": node.type, "outputs": list(node.outputs)}
    if node.notes:
        entry["notes"] = {name: list(values) for name, values in node.notes.items()}
    if node.state is not None:
        entry |= {"state": node.state, "seconds": node.seconds}
    return entry
