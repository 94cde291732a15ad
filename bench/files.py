"""Graph files of 10,000 nodes: reading, converting, comparing and merging them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from bench.clock import Measurement, median_time
from latentloom.engine.formats import convert_graph, dump_graph, parse_graph
from latentloom.engine.formats.comparable import comparable
from latentloom.engine.graph.diff import diff
from latentloom.engine.graph.graph import Graph, Link, Node
from latentloom.engine.graph.merge import merge
from latentloom.nodes import registry

BRANCHES = 2_000
SIDE_PX = 64
AIM_S = 2.0


def branches(count: int) -> Graph:
    """Return a graph of five nodes a branch, as text to image has them, and one checkpoint."""
    nodes = {"model": Node("CheckpointLoaderSimple", {"ckpt_name": "demo"})}
    size = {"width": SIDE_PX, "height": SIDE_PX, "batch_size": 1}
    settings = {"steps": 20, "cfg": 7.5, "sampler_name": "euler", "scheduler": "normal"}
    for i in range(count):
        text = f"a house number {i} in a long street with many trees, and a lake behind it"
        nodes[f"prompt{i}"] = Node("CLIPTextEncode", {"text": text, "clip": Link("model", "CLIP")})
        nodes[f"latent{i}"] = Node("EmptyLatentImage", size)
        links = {
            "model": Link("model", "MODEL"),
            "positive": Link(f"prompt{i}", "CONDITIONING"),
            "negative": Link(f"prompt{i}", "CONDITIONING"),
            "latent_image": Link(f"latent{i}", "LATENT"),
        }
        nodes[f"sample{i}"] = Node("KSampler", {**links, **settings, "seed": i, "denoise": 1.0})
        decoded = {"samples": Link(f"sample{i}", "LATENT"), "vae": Link("model", "VAE")}
        nodes[f"decode{i}"] = Node("VAEDecode", decoded)
        nodes[f"save{i}"] = Node("SaveImage", {"images": Link(f"decode{i}", "IMAGE")})
    return Graph(nodes)


def file_rows() -> Iterator[Measurement]:
    """Measure files of one graph in seconds; the editor's file has no names of its nodes."""
    nodes = registry()
    graph = branches(BRANCHES)
    other = graph.set("sample7.denoise", 0.5).remove("save9")
    texts = {form: dump_graph(graph, form, nodes) for form in ("yaml", "comfy", "editor")}
    workflow = json.loads(texts["editor"])
    del workflow["extra"]["latentloom"]
    texts["editor"] = json.dumps(workflow)
    read = {form: parse_graph(text, nodes) for form, text in texts.items()}
    calls: dict[str, Callable[[], object]] = {
        "read YAML": lambda: parse_graph(texts["yaml"], nodes),
        "read the editor's file": lambda: parse_graph(texts["editor"], nodes),
        "read API JSON": lambda: parse_graph(texts["comfy"], nodes),
        "convert the editor's file to YAML": lambda: convert_graph(read["editor"], "yaml", nodes),
        "convert YAML for the editor": lambda: convert_graph(read["yaml"], "editor", nodes),
        "diff": lambda: diff(*comparable(graph, other, nodes)),
        "diff of YAML and the editor's": lambda: diff(
            *comparable(read["yaml"], read["editor"], nodes)
        ),
        "merge": lambda: merge(graph, other, graph.set("sample8.cfg", 5.0)),
    }
    for name, call in calls.items():
        yield Measurement(f"{len(graph.nodes)} nodes: {name}", median_time(call, 3), "s", AIM_S)
