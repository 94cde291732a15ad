"""Types for Python code that builds graphs: a module with a stub that declares every node.

`latentloom_nodes.build()` is `latentloom.build()`; its stub gives each installed node a method,
each output a type, and each input the types that it accepts. Editors complete from it, and a
type checker refuses a MASK where an IMAGE belongs.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..files.folder import open_folder
from ..node.ports import ANY, accepts
from ..node.spec import NodeSpec, Port

MODULE = "latentloom_nodes"
LITERALS = {"INT": "int", "FLOAT": "float", "STRING": "str", "BOOLEAN": "bool"}
OWN_PARAMETERS = ("self", "id", "title")
MAX_CHOICES = 100
OF_TUPLES = ("count", "index")
CODE = '''\
"""Typed nodes of latentloom; `latentloom nodes --stubs` wrote this module and its stub."""

from latentloom import build as build
'''
HEAD = '''\
"""The installed nodes of latentloom; `latentloom nodes --stubs` wrote this stub."""

from typing import Any, Literal, TypeAlias

from latentloom import Graph, InputRef, Link

Reference: TypeAlias = InputRef | Link

def build(title: str = "") -> Nodes: ...

class Output:
    node: str
    name: str
    type: str
'''
NODES = '''
class Nodes:
    """Records nodes; `graph` is the graph of those recorded so far."""

    @property
    def graph(self) -> Graph: ...
    def input(
        self, name: str, type: str, default: Any, *, min: float | None = None,
        max: float | None = None, choices: tuple[str, ...] | None = None, description: str = "",
    ) -> InputRef: ...
    def add(self, type_name: str, id: str = "", title: str = "", **inputs: Any) -> Any: ...
'''


def write_stubs(specs: Mapping[str, NodeSpec], folder: Path) -> Path:
    """Write the module and its stub, and return the path of the stub.

    Raises:
        OSError: they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open_folder(folder) as opened:
        for suffix, text in ((".py", CODE), (".pyi", node_stubs(specs))):
            with opened.temporary_file(text.encode("utf-8")) as part:
                opened.replace(part, opened, f"{MODULE}{suffix}")
    return folder / f"{MODULE}.pyi"


def node_stubs(specs: Mapping[str, NodeSpec]) -> str:
    """Return the text of the stub."""
    names = _class_names(specs)
    lines = [HEAD]
    lines += [f"\nclass {name}Output(Output): ..." for name in names.values()]
    lines += [f"\n{line}" for line in _aliases(specs, names)]
    shown = [spec for name, spec in sorted(specs.items()) if _is_name(name) and name != "graph"]
    lines += [_handle(spec, names) for spec in shown]
    lines.append(NODES)
    lines += [_method(spec, names) for spec in shown]
    return "".join(lines)


def _class_names(specs: Mapping[str, NodeSpec]) -> dict[str, str]:
    """Return a name for each type of an output or an input, such as ControlNet for CONTROL_NET."""
    types = {port.type for spec in specs.values() for port in spec.inputs}
    types |= {output.type for spec in specs.values() for output in spec.outputs}
    names: dict[str, str] = {}
    for type in sorted(types - {ANY}):
        words = re.findall(r"[A-Za-z0-9]+", type)
        name = "".join(word[:1].upper() + word[1:].lower() for word in words)
        name = name if _is_name(name) else f"Type{name}"
        count = sum(other.rstrip("_") == name for other in names.values())
        names[type] = name + "_" * count
    return names | {ANY: "Any"}


def _aliases(specs: Mapping[str, NodeSpec], names: Mapping[str, str]) -> Iterator[str]:
    """Yield for each type what may be linked to its inputs: outputs, and nodes with only one."""
    given = sorted({output.type for spec in specs.values() for output in spec.outputs})
    for type, name in names.items():
        if type == ANY:
            continue
        # Its own type first, as messages of type checkers begin with it.
        own_first = sorted(given, key=type.__ne__)
        fitting = [f"{names[other]}Output" for other in own_first if accepts(type, other)]
        single = [f"tuple[{item}]" for item in fitting]
        yield f"{name}Link: TypeAlias = {' | '.join([*fitting, *single, 'Reference'])}"


def _handle(spec: NodeSpec, names: Mapping[str, str]) -> str:
    types = [f"{names[output.type]}Output" for output in spec.outputs]
    base = f"tuple[{', '.join(types) or '()'}]"
    lines = [
        f"\n\nclass {spec.name}Handle({base}):",
        "    @property",
        "    def id(self) -> str: ...",
    ]
    taken = {"id", *OF_TUPLES}
    for output, type in zip(spec.outputs, types, strict=True):
        if _is_name(output.name) and output.name not in taken:
            lines += ["    @property", f"    def {output.name}(self) -> {type}: ..."]
            taken.add(output.name)
    return "\n".join(lines)


def _method(spec: NodeSpec, names: Mapping[str, str]) -> str:
    named = [p for p in spec.inputs if _is_name(p.name) and p.name not in OWN_PARAMETERS]
    parameters = [
        f"{port.name}: {_type(port, names)}"
        + ("" if port.is_required and port.growing is None else " = ...")
        for port in named
    ]
    has_all = len(named) == len(spec.inputs) and spec.fitted({}) is spec
    others = "others" if spec.port("inputs") is not None else "inputs"
    parameters += ['id: str = ""', 'title: str = ""', *(() if has_all else (f"**{others}: Any",))]
    doc = spec.doc.strip().partition("\n")[0].replace("\\", "\\\\").replace('"', "'")
    lines = [
        f"\n    def {spec.name}(",
        "        self, *,",
        *(f"        {parameter}," for parameter in parameters),
        f"    ) -> {spec.name}Handle:",
        f'        """{doc}"""' if doc else "        ...",
    ]
    return "\n".join(lines)


def _type(port: Port, names: Mapping[str, str]) -> str:
    if port.type == ANY:
        return "Any"
    types = [f"{names[port.type]}Link"]
    if port.type in LITERALS:
        types.insert(0, LITERALS[port.type])
    elif port.type == "COMBO":
        types.insert(0, _choices(port))
    if port.growing is not None:
        types = ["list[Any]", "dict[str, Any]"]
    if port.many:
        types.append("list[Any]")
    return " | ".join([*types, "None"] if port.optional or port.default is None else types)


def _choices(port: Port) -> str:
    """Return the type of a choice: its strings, or any where it names an installed file."""
    options = None if port.file is not None else port.options()
    if options and len(options) > MAX_CHOICES:
        return "str"
    return f"Literal[{', '.join(map(repr, options))}]" if options else "str"


def _is_name(text: str) -> bool:
    return text.isidentifier() and text.isascii() and not keyword.iskeyword(text)
