"""A graph from a file of ComfyUI as a person would write it: names for nodes, in order of work."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..graph.graph import Graph, Link, Node
from .comfy_layout import LEFT_OUT, list_in, mapping_in

MAX_NAME_CHARS = 40
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
_WORDS = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def readable(graph: Graph) -> Graph:
    """Return the graph with names from titles, roles and types, in topological order.

    Ids that are names already stay. Notes become the description.
    """
    order = _order(graph)
    names = _names(graph, order)

    def renamed(value: Any) -> Any:
        return Link(names.get(value.node, value.node), value.output) if _is_link(value) else value

    def rename(node: Node) -> Node:
        inputs = {name: renamed(value) for name, value in node.inputs.items()}
        return replace(node, inputs=inputs)

    decorations = mapping_in(graph.layout, "nodes")
    layout = dict(graph.layout)
    if decorations:
        layout["nodes"] = {names[id]: decorations[id] for id in order if id in decorations}
    if LEFT_OUT in layout:
        layout[LEFT_OUT] = [_renamed_links(node, names) for node in list_in(layout, LEFT_OUT)]
    nodes = {names[id]: rename(graph.nodes[id]) for id in order}
    return _with_description(replace(graph, nodes=nodes, layout=layout, document=None))


def _renamed_links(node: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    links = [
        [names.get(origin, origin), output, names.get(target, target), name]
        for origin, output, target, name in node["links"]
    ]
    return {**node, "links": links}


def _is_link(value: Any) -> bool:
    return isinstance(value, Link)


def _with_description(graph: Graph) -> Graph:
    """Return the graph with its first note as its description."""
    notes = list_in(graph.layout, "notes")
    if graph.description or not notes or not notes[0].get("text"):
        return graph
    first = {key: value for key, value in notes[0].items() if key != "text"}
    layout = {**graph.layout, "notes": [first, *notes[1:]]}
    return replace(graph, description=str(notes[0]["text"]), layout=layout)


def _order(graph: Graph) -> list[str]:
    """Return the ids in topological order, and else in that of the file."""
    import networkx as nx

    if graph.cycle() is not None:
        return list(graph.nodes)
    positions = {id: index for index, id in enumerate(graph.nodes)}
    return list(nx.lexicographical_topological_sort(graph.network, key=positions.__getitem__))


def _names(graph: Graph, order: Iterable[str]) -> Mapping[str, str]:
    """Return a unique name for each id; of equal ones, the second is `name_2`."""
    roles = _roles(graph)
    names: dict[str, str] = {}
    used: set[str] = set()
    counts: dict[str, int] = {}
    for id in order:
        base = id if _is_name(id) else _name(graph.nodes[id], roles.get(id, ""))
        name = base
        while name in used:
            counts[base] = counts.get(base, 1) + 1
            name = f"{base}_{counts[base]}"
        used.add(name)
        names[id] = name
    return names


def _is_name(id: str) -> bool:
    return not id.replace(":", "").isdigit()


def _name(node: Node, role: str) -> str:
    title = _slug(node.title)
    if title and title != _slug(node.type) and not title.isdigit():
        return title
    if role:
        return role
    named = (name for pattern, name in _BY_TYPE if pattern.fullmatch(node.type))
    name = next(named, None) or _slug(_CAMEL.sub(" ", node.type))
    return name if name and not name.isdigit() else "node"


def _slug(text: str) -> str:
    return "_".join(_WORDS.findall(text.lower()))[:MAX_NAME_CHARS].strip("_")


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
