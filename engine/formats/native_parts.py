"""Entries under `parts:` of native files: pieces of graph, declared or imported from a file.

    parts:
      refine:
        inputs: {latent: {}, model: $model.MODEL, denoise: 0.3}
        nodes: {sample: {node: KSampler, model: "${model}", latent_image: "${latent}", ...}}
        outputs: {latent: $sample.LATENT}
      sharpen: {import: common.yaml}

Under `inputs:` stands the default, or a mapping with `type`, `default` and `description`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import FormatError, did_you_mean
from ..files.folder import read_inside
from ..graph.expand import MAX_EXPANDED, PassesEntry, UseEntry, expand_part
from ..graph.fold import fold
from ..graph.literal import describe_value
from ..graph.parts import Body, Part, PartInput
from ..graph.records import InputRef, Link
from ..graph.repeated import with_repeated_nodes
from ..node.spec import NodeSpec
from .native_nodes import read_entry, write_entry
from .native_values import as_mapping, check_keys, read_value, text_in, write_value
from .parsing import MAX_BYTES, VERSION, parse_text

KEYS = (
    "latentloom", "title", "description", "inputs", "parts", "nodes", "sweep", "expect", "layout",
)  # fmt: skip
PART_KEYS = ("description", "inputs", "nodes", "outputs")
IMPORT_KEYS = ("import", "part")
INPUT_KEYS = ("type", "default", "description", "optional")
EXTENSIONS = (".yaml", ".yml", ".json")
MAX_IMPORTED_FILES = 32
MAX_NESTED_PARTS = 32


def check_file(data: Mapping[Any, Any]) -> None:
    """Check the version and the keys of a native file.

    Raises:
        FormatError: they are others.
    """
    version = data.get("latentloom")
    if type(version) is int and version > VERSION:
        raise FormatError(
            f"expected `latentloom: {VERSION}`, got {version}: a later release wrote the file; "
            "update latentloom"
        )
    if type(version) is not int or version != VERSION:
        raise FormatError(f"expected `latentloom: {VERSION}`, got {describe_value(version)}")
    check_keys(data, KEYS, "the file")


@dataclass
class _Reading:
    """State that the readers of a file and of the files that it imports share.

    Attributes:
        files: the readers of imported files, by path.
        open: the parts that are being read, from the outermost one.
        nodes: how many nodes the parts read so far have.
    """

    files: dict[Path, PartReader] = field(default_factory=dict)
    open: list[tuple[int, str]] = field(default_factory=list)
    nodes: int = 0


@dataclass
class PartReader:
    """Reads the parts of a file, each after those that it uses.

    Args:
        entries: what the file has under `parts:`.
        folder: of the file; None if it may not import.
    """

    entries: Mapping[Any, Any]
    specs: Mapping[str, NodeSpec]
    folder: Path | None
    _reading: _Reading = field(default_factory=_Reading)
    _parts: dict[str, Part] = field(default_factory=dict)

    def read_all(self) -> dict[str, Part]:
        """Return all parts in the order of the file.

        Raises:
            FormatError: a part is not what the format has there, uses itself, or cannot be
                imported.
        """
        return {str(name): self.read(str(name)) for name in self.entries}

    def read(self, name: str) -> Part:
        """Return one part.

        Raises:
            FormatError: as `read_all`, or there is no such part.
        """
        if name not in self._parts:
            opened = self._reading.open
            if (id(self), name) in opened:
                names = " -> ".join([*(name for _, name in opened), name])
                raise FormatError(f"part {name}: it uses itself: {names}")
            if len(opened) >= MAX_NESTED_PARTS:
                raise FormatError(f"part {name}: nested deeper than {MAX_NESTED_PARTS} parts")
            opened.append((id(self), name))
            part = self._parts[name] = self._read(name)
            opened.pop()
            self._reading.nodes += len(part.body.nodes)
            if self._reading.nodes > MAX_EXPANDED:
                raise FormatError(f"expected at most {MAX_EXPANDED} nodes in all parts")
        return self._parts[name]

    def _read(self, name: str) -> Part:
        where, entry = f"part {name}", self.entries.get(name)
        if not isinstance(entry, Mapping):
            raise FormatError(f"{where}: expected a mapping, got {describe_value(entry)}")
        if "import" in entry:
            check_keys(entry, IMPORT_KEYS, where)
            return self._import(where, entry["import"], entry.get("part", name))
        check_keys(entry, PART_KEYS, where)
        inputs = as_mapping(entry.get("inputs"), f"{where}, inputs")
        body, outputs = self._body(where, entry)
        part = Part(
            body=body,
            inputs={str(key): _read_input(f"{where}, {key}", v) for key, v in inputs.items()},
            outputs=outputs,
            description=text_in(entry, "description"),
        )
        _check(where, part)
        return part

    def _body(self, where: str, entry: Mapping[Any, Any]) -> tuple[Body, dict[str, Any]]:
        nodes = as_mapping(entry.get("nodes"), f"{where}, nodes")
        if not nodes:
            raise FormatError(f"{where}, nodes: expected at least one node")
        outputs = as_mapping(entry.get("outputs"), f"{where}, outputs")
        given = {str(key): read_value(f"{where}, {key}", item) for key, item in outputs.items()}
        try:
            entries = {str(id): read_entry(str(id), v, self.specs, {}) for id, v in nodes.items()}
            used = {e.part for e in entries.values() if isinstance(e, UseEntry)}
            parts = {name: self.read(name) for name in used if name in self.entries}
            for id, use in entries.items():
                over = use.over.values() if isinstance(use, PassesEntry) else ()
                if any(isinstance(series, InputRef) for series in over):
                    raise FormatError(f"node {id}, over: expected lists, as this is inside a part")
            entries, parts = with_repeated_nodes(entries, parts, self.specs)
            return expand_part(entries, parts, given)
        except FormatError as error:
            raise FormatError(f"{where}, {error}") from error

    def _import(self, where: str, file: Any, name: Any) -> Part:
        """Return a part of another file, with the nodes of parts that it uses one by one."""
        if not isinstance(file, str) or not file.endswith(EXTENSIONS) or not isinstance(name, str):
            expected = f"`import: <file>` with a name that ends in {' or '.join(EXTENSIONS)}"
            raise FormatError(f"{where}: expected {expected}, got {describe_value(file)}")
        if self.folder is None:
            raise FormatError(f"{where}: expected the part itself, as this graph is not in a file")
        path, files = self.folder / file, self._reading.files
        if path not in files:
            if len(files) >= MAX_IMPORTED_FILES:
                raise FormatError(f"{where}: expected at most {MAX_IMPORTED_FILES} imported files")
            try:
                entries = _parts_in(self.folder, file)
            except (FormatError, OSError, ValueError) as error:
                raise FormatError(f"{where}, import {file}: {error}") from error
            files[path] = PartReader(entries, self.specs, path.parent, self._reading)
        reader = files[path]
        if name not in reader.entries:
            hint = did_you_mean(name, [str(key) for key in reader.entries])
            listed = ", ".join(map(str, reader.entries)) or "none"
            raise FormatError(
                f"{where}, import {file}: expected one of its parts ({listed}), got {name}"
                + (f"\n  try:     {hint}" if hint else "")
            )
        part = reader.read(name)
        return replace(part, body=Body(nodes=part.body.nodes))


def write_part(name: str, part: Part, parts: Mapping[str, Part]) -> dict[str, Any]:
    """Return a part as a file holds it.

    Raises:
        FormatError: a part of it would not be read back unchanged.
    """
    where = f"part {name}"
    entry: dict[str, Any] = {"description": part.description} if part.description else {}
    if part.inputs:
        entry["inputs"] = {
            key: _write_input(f"{where}, {key}", value) for key, value in part.inputs.items()
        }
    entries = fold(part.body, parts, {})
    entry["nodes"] = {id: write_entry(id, item, parts) for id, item in entries.items()}
    outputs = part.outputs.items()
    entry["outputs"] = {key: write_value(f"{where}, {key}", value) for key, value in outputs}
    return entry


def _parts_in(folder: Path, file: str) -> Mapping[Any, Any]:
    data = parse_text(read_inside(folder, file, MAX_BYTES).decode("utf-8-sig"))
    if not isinstance(data, Mapping) or "latentloom" not in data:
        raise FormatError(f"expected a native file, with `latentloom: {VERSION}` and `parts:`")
    check_file(data)
    return as_mapping(data.get("parts"), "parts")


def _read_input(where: str, entry: Any) -> PartInput:
    if not isinstance(entry, Mapping):
        return PartInput(default=read_value(where, entry))
    check_keys(entry, INPUT_KEYS, where)
    default = read_value(where, entry.get("default"))
    types, description = text_in(entry, "type"), text_in(entry, "description")
    optional = entry.get("optional", False)
    if not isinstance(optional, bool):
        raise FormatError(f"{where}: expected true or false, got {describe_value(optional)}")
    return PartInput(default=default, type=types, description=description, optional=optional)


def _write_input(where: str, part_input: PartInput) -> Any:
    default = write_value(where, part_input.default)
    held = {"type": part_input.type, "description": part_input.description}
    details: dict[str, Any] = {key: value for key, value in held.items() if value}
    details |= {"optional": True} if part_input.optional else {}
    if not details and part_input.default is not None and not isinstance(default, dict):
        return default
    return details | ({} if part_input.default is None else {"default": default})


def _check(where: str, part: Part) -> None:
    """Check that links and references inside a part lead to its own nodes and inputs."""
    body = part.body.nodes
    values = [(f"node {id}, {port}", v) for id, n in body.items() for port, v in n.inputs.items()]
    values += [(f"outputs, {name}", value) for name, value in part.outputs.items()]
    for at, value in values:
        if isinstance(value, Link) and value.node not in body:
            hint = f"make it an input of the part, with the default {value}"
            expected = f"a node of the part ({', '.join(body)})"
            raise FormatError(f"{where}, {at}: expected {expected}, got {value}\n  try:     {hint}")
        if isinstance(value, InputRef) and (value.name not in part.inputs or value.index):
            expected = f"an input of the part ({', '.join(part.inputs) or 'none'})"
            hint = did_you_mean(value.name, part.inputs)
            raise FormatError(
                f"{where}, {at}: expected {expected}, got {value}"
                + (f"\n  try:     {hint}" if hint else "")
            )
