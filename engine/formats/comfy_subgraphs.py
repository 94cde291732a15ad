"""Parts of a graph as subgraphs of the ComfyUI editor, and their uses as instances.

A part becomes a subgraph if the inputs and outputs of all its nodes are known; else the nodes of
its uses stand one by one, as those of passes do.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..graph.expand import UseEntry
from ..graph.fold import fold
from ..graph.graph import Graph, InputRef, Link, Node
from ..graph.parts import Body, Part, PartInput
from ..node.ports import ANY
from ..node.spec import MISSING, NodeSpec, Output, Port
from .comfy_writer import INPUTS, OUTPUTS, LevelWriter, PartSpec
from .output_names import declared

Specs = Mapping[str, NodeSpec]
NAMESPACE = uuid.UUID("6d6f2f4e-9c3b-5a7e-8f11-3f0c2b7a9d55")
BOX_WIDTH, BOX_HEIGHT, MARGIN = 120, 60, 200


@dataclass
class SplitGraph:
    """The root of a graph, with uses of parts as nodes.

    Attributes:
        source: the graph with the nodes of uses one by one.
        graph: the nodes and the uses; the type of a use is the id of its subgraph.
        specs: the declarations of subgraphs, by id.
        parts: the parts that are used.
    """

    source: Graph
    graph: Graph
    specs: Mapping[str, PartSpec]
    parts: Mapping[str, Part]
    installed: Specs
    inner: dict[str, LevelWriter] = field(default_factory=dict)

    def definitions(self, last: int) -> dict[str, Any]:
        """Return the definitions of the subgraphs, as a part of the file; nothing if none is used.

        Args:
            last: the highest number of a node of the root.
        """
        made = []
        for name, part in self.parts.items():
            outputs = [value for value in part.outputs.values() if isinstance(value, Link)]
            defaults = {key: item.default for key, item in part.inputs.items()}
            writer = LevelWriter(
                Graph(part.body.nodes), self.installed, defaults, outputs, first=last + 1
            )
            self.inner[name] = writer
            last += len(part.body.nodes)
            made.append(_definition(name, writer, self.specs[_id(name)]))
        return {"definitions": {"subgraphs": made}} if made else {}

    def numbers(self, outer: Mapping[str, int]) -> dict[str, int | str]:
        """Return the numbers in the file of all nodes; of those in subgraphs with their instance's.

        Args:
            outer: the numbers in the root.
        """
        numbers: dict[str, int | str] = dict(outer)
        for name, use in self.source.uses.items():
            is_instance = name in outer and self.graph.nodes[name].type == _id(use.part)
            if is_instance and use.part in self.inner:
                inside = self.inner[use.part].numbers
                numbers |= {id: f"{outer[name]}:{inside[at]}" for at, id in use.nodes.items()}
        return numbers


def split_level(graph: Graph, specs: Specs) -> SplitGraph:
    """Return the root of a graph, with the uses of parts that can be instances of subgraphs."""
    parts, declarations = {}, {}
    for name, part in graph.parts.items():
        spec = _spec(name, part, specs)
        if spec is not None:
            inputs = {key: PartInput(optional=item.optional) for key, item in part.inputs.items()}
            parts[name] = replace(part, inputs=inputs)
            declarations[name] = spec
    repeated = {name for passes in graph.passes.values() for name in passes.uses}
    uses = {
        name: use for name, use in graph.uses.items() if use.part in parts and name not in repeated
    }
    while True:
        entries = fold(Body(nodes=graph.nodes, uses=uses), parts, {})
        used = {id: e.part for id, e in entries.items() if isinstance(e, UseEntry)}
        bad = {
            link.node
            for entry in entries.values()
            for link in entry.inputs.values()
            if isinstance(link, Link)
            and link.node in used
            and declarations[used[link.node]].output_index(link.output) is None
        }
        if not bad:
            break
        uses = {name: use for name, use in uses.items() if name not in bad}
    nodes = {
        id: Node(_id(entry.part), entry.inputs, entry.title or _shown(entry.part))
        if isinstance(entry, UseEntry)
        else entry
        for id, entry in entries.items()
    }
    level = replace(graph, nodes=nodes, parts={}, uses={}, passes={})
    if level.cycle() is not None:
        return SplitGraph(graph, replace(graph, parts={}, uses={}, passes={}), {}, {}, specs)
    held = {name: graph.parts[name] for name in graph.parts if name in used.values()}
    return SplitGraph(graph, level, {_id(name): declarations[name] for name in held}, held, specs)


def _spec(name: str, part: Part, specs: Specs) -> PartSpec | None:
    """Return the declaration of a part; None if a node inside has none."""
    inputs = []
    for key, item in part.inputs.items():
        ports = [_port(part, id, port, specs) for id, port in part.ports_of(key)]
        first = ports[0] if ports else Port(name=key, type=item.type or ANY)
        if first is None:
            return None
        has_default = item.default is not None and not isinstance(item.default, Link | InputRef)
        default = item.default if has_default else MISSING
        inputs.append(replace(first, name=key, default=default, seeded=False))
    outputs = []
    for key, value in part.outputs.items():
        if not isinstance(value, Link):
            continue
        spec = declared(part.body.nodes[value.node].type, specs)
        index = spec.output_index(value.output) if spec is not None else None
        if spec is None or index is None:
            return None
        outputs.append(Output(key, spec.outputs[index].type))
    if any(declared(node.type, specs) is None for node in part.body.nodes.values()):
        return None
    return PartSpec(
        name=_id(name), category="", run=print, inputs=tuple(inputs), outputs=tuple(outputs)
    )


def _port(part: Part, id: str, name: str, specs: Specs) -> Port | None:
    spec = declared(part.body.nodes[id].type, specs)
    given = part.body.nodes[id].inputs
    return spec.fitted(given).port(name) if spec is not None else None


def _id(name: str) -> str:
    return str(uuid.uuid5(NAMESPACE, f"part {name}"))


def _shown(name: str) -> str:
    return name.replace("_", " ").strip() or name


def _definition(name: str, writer: LevelWriter, spec: PartSpec) -> dict[str, Any]:
    nodes = [writer.node(id) for layer in writer.graph.generations for id in layer]
    right = max(node["pos"][0] + node["size"][0] for node in nodes)
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    links = [dict(zip(keys, link, strict=True)) for link in writer.links]

    def ends(ports: tuple[Any, ...], side: int, x: float) -> list[dict[str, Any]]:
        end, slot = ("origin_id", "origin_slot") if side == INPUTS else ("target_id", "target_slot")
        return [
            {
                "id": str(uuid.uuid5(NAMESPACE, f"part {name} {side} {port.name}")),
                "name": port.name,
                "type": port.type,
                "linkIds": [li["id"] for li in links if (li[end], li[slot]) == (side, index)],
                "pos": [x, 20 * (index + 1)],
            }
            for index, port in enumerate(ports)
        ]

    left = -MARGIN
    return {
        "id": spec.name,
        "version": 1,
        "state": {
            "lastGroupId": 0,
            "lastNodeId": max(writer.numbers.values()),
            "lastLinkId": len(links),
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": _shown(name),
        "inputNode": {"id": INPUTS, "bounding": [left, 0, BOX_WIDTH, BOX_HEIGHT]},
        "outputNode": {"id": OUTPUTS, "bounding": [right + MARGIN, 0, BOX_WIDTH, BOX_HEIGHT]},
        "inputs": ends(spec.inputs, INPUTS, left),
        "outputs": ends(spec.outputs, OUTPUTS, right + MARGIN),
        "widgets": [],
        "nodes": nodes,
        "groups": [],
        "links": links,
        "extra": {},
    }
