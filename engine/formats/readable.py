"""A graph from a file of ComfyUI as a person would write it: names for nodes, in order of work."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..graph.graph import Graph, Link, Node
from ..graph.matching import is_name
from ..graph.parts import Body, Part, PartUse, use_ids
from .comfy_layout import LEFT_OUT, list_in, mapping_in
from .graph_inputs import NO_SPECS, Specs, with_inputs
from .names import slug
from .native_marks import names_in, with_marked_inputs

ROLES = ("positive", "negative")
_TYPE_NAMES: tuple[tuple[str, str], ...] = (
    (r"CheckpointLoader.*|unCLIPCheckpointLoader|ImageOnlyCheckpointLoader", "checkpoint"),
    (r"UNETLoader|DiffusersLoader", "model"),
    (r"(Dual|Triple|Quadruple)?CLIPLoader", "clip"),
    (r"VAELoader", "vae"),
    (r"Lora(Loader|LoaderModelOnly|ModelLoader)", "lora"),
    (r"ControlNetLoader|DiffControlNetLoader", "controlnet"),
    (r"ControlNetApply.*|ControlNetInpainting.*", "control"),
    (r"UpscaleModelLoader", "upscaler"),
    (r"CLIPTextEncode.*|TextEncode.*", "prompt"),
    (r"KSampler|KSamplerAdvanced|SamplerCustom.*", "sample"),
    (r"Empty\w*Latent\w*", "latent"),
    (r"VAEEncode.*", "encode"),
    (r"VAEDecode.*", "decode"),
    (r"LoadImage|LoadImageOutput", "image"),
    (r"LoadImageMask", "mask"),
    (r"SaveImage.*", "save"),
    (r"PreviewImage", "preview"),
)
_BY_TYPE = tuple((re.compile(pattern), name) for pattern, name in _TYPE_NAMES)
_ENCODER = re.compile(r"\w*TextEncode\w*")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def readable(graph: Graph, specs: Specs = NO_SPECS) -> Graph:
    """Return the graph with names from titles, roles and types, in topological order.

    Ids that are names already stay, as do names and inputs of a native graph that the file
    carries. Notes become the description. Values that a file of the editor shares between nodes, or
    shows on its subgraphs, become inputs of the graph.

    Args:
        specs: the installed nodes, which tell images from other strings.
    """
    parts, inner_names = _readable_parts(graph.parts)
    items = _named_items(graph)
    names: dict[str, str] = {}
    uses: dict[str, PartUse] = {}
    for name, (item, ids) in items.items():
        use = graph.uses.get(item)
        if use is None:
            names[item] = name
            continue
        inner = inner_names[use.part]
        new_ids = use_ids(name, [inner[id] for id in ids])
        names |= {use.nodes[id]: new_ids[inner[id]] for id in ids}
        uses[name] = replace(use, nodes=new_ids)

    def rename(node: Node) -> Node:
        if not any(node.links()):
            return node
        inputs = {name: _renamed(value, names) for name, value in node.inputs.items()}
        return replace(node, inputs=inputs)

    layout = dict(graph.layout)
    decorations = mapping_in(layout, "nodes")
    if decorations:
        layout["nodes"] = {
            name: decorations[item] for name, (item, _) in items.items() if item in decorations
        }
    if LEFT_OUT in layout:
        outer = {item: name for name, (item, _) in items.items()}
        layout[LEFT_OUT] = [_renamed_links(node, outer) for node in list_in(layout, LEFT_OUT)]
    nodes = {new: rename(graph.nodes[id]) for id, new in names.items()}
    renamed = replace(graph, nodes=nodes, layout=layout, document=None, parts=parts, uses=uses)
    renamed = with_marked_inputs(renamed, graph, names)
    shared = graph.document.shared if graph.document is not None else ()
    return _with_description(with_inputs(renamed, shared, names, specs))


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(value, Link):
        return value
    return Link(names.get(value.node, value.node), value.output)


def _readable_parts(
    parts: Mapping[str, Part],
) -> tuple[dict[str, Part], dict[str, dict[str, str]]]:
    """Return parts whose nodes have names, and those names by part and former id."""
    changed: dict[str, Part] = {}
    names: dict[str, dict[str, str]] = {}
    for part_name, part in parts.items():
        inside = readable(Graph(part.body.nodes))
        order = [item for item, _ in _named_items(Graph(part.body.nodes)).values()]
        names[part_name] = dict(zip(order, inside.nodes, strict=True))
        outputs = {name: _renamed(value, names[part_name]) for name, value in part.outputs.items()}
        changed[part_name] = replace(part, body=Body(nodes=inside.nodes), outputs=outputs)
    return changed, names


def _renamed_links(node: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    links = [
        [names.get(origin, origin), output, names.get(target, target), name]
        for origin, output, target, name in node["links"]
    ]
    return {**node, "links": links}


def _with_description(graph: Graph) -> Graph:
    """Return the graph with its first note as its description."""
    notes = list_in(graph.layout, "notes")
    if graph.description or not notes or not notes[0].get("text"):
        return graph
    first = {key: value for key, value in notes[0].items() if key != "text"}
    layout = {**graph.layout, "notes": [first, *notes[1:]]}
    return replace(graph, description=str(notes[0]["text"]), layout=layout)


def _named_items(graph: Graph) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return nodes and uses of parts by their new names, in order; of a use, its inner ids too."""
    owners = {id: name for name, use in graph.uses.items() for id in use.nodes.values()}
    roles, marked = _roles(graph), names_in(graph)
    reserved = set(marked.values())
    items: dict[str, tuple[str, tuple[str, ...]]] = {}
    counts: dict[str, int] = {}
    for item in _order(graph, owners):
        use = graph.uses.get(item)
        base = marked.get(item, "")
        if not base and use is not None:
            base = slug(use.title) or use.part
        elif not base:
            base = item if is_name(item) else _name(graph.nodes[item], roles.get(item, ""))
        name = base
        while name in items or (name in reserved and item not in marked):
            counts[base] = counts.get(base, 1) + 1
            name = f"{base}_{counts[base]}"
        items[name] = (item, tuple(use.nodes) if use is not None else ())
    return items


def _order(graph: Graph, owners: Mapping[str, str]) -> list[str]:
    """Return nodes and uses in topological order, and else in that of the file."""
    import networkx as nx

    items = {owners.get(id, id): index for index, id in reversed(list(enumerate(graph.nodes)))}
    network: nx.DiGraph[str] = nx.DiGraph()
    network.add_nodes_from(items)
    ends = ((owners.get(a, a), owners.get(b, b)) for a, b in graph.network.edges)
    network.add_edges_from((origin, target) for origin, target in ends if origin != target)
    if not nx.is_directed_acyclic_graph(network):
        return sorted(items, key=items.__getitem__)
    return list(nx.lexicographical_topological_sort(network, key=items.__getitem__))


def _name(node: Node, role: str) -> str:
    title = slug(node.title)
    if title and title != slug(node.type) and not title.isdigit():
        return title
    if role:
        return role
    named = (name for pattern, name in _BY_TYPE if pattern.fullmatch(node.type))
    name = next(named, None) or slug(_CAMEL.sub(" ", node.type))
    return name if name and not name.isdigit() else "node"


def _roles(graph: Graph) -> dict[str, str]:
    """Return the role of each text encoder that feeds only one kind of input."""
    roles: dict[str, set[str]] = {}
    for node in graph.nodes.values():
        for name, link in node.links():
            origin = graph.nodes.get(link.node)
            if origin is not None and _ENCODER.fullmatch(origin.type):
                roles.setdefault(link.node, set()).add(name)
    chosen = {id: next(iter(names)) for id, names in roles.items() if len(names) == 1}
    return {id: name for id, name in chosen.items() if name in ROLES}
