"""Files of older editors: group nodes, and subgraphs that show fields by proxies.

`tests/web/test_editor.py` asks the editor itself what the same files mean.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from latentloom.engine.errors import FormatError
from latentloom.engine.formats.comfy_editor import read_workflow
from latentloom.engine.graph.graph import Graph, Link
from latentloom.engine.node.registry import Registry
from tests.engine.formats.old_files import grouped, plain, proxied, proxied_twice

REGISTRY = Registry.from_package("latentloom.nodes")
PLAIN = plain(REGISTRY)
SHOWN = ["a red house in the center, autumn, sunset, hills, sun, clouds, trees", ""]


def read(data: dict[str, Any]) -> Graph:
    return read_workflow(data, REGISTRY)


def texts(graph: Graph) -> list[Any]:
    """The two prompts, the sampler's seed and its denoise."""
    sampler = next(node for node in graph.nodes.values() if node.type == "KSampler")
    prompts = [graph.nodes[sampler.inputs[name].node] for name in ("positive", "negative")]
    values = [node.inputs["text"] for node in prompts]
    return [*values, sampler.inputs["seed"], sampler.inputs["denoise"]]


def test_a_group_node_is_laid_open_with_the_values_that_it_shows() -> None:
    graph = read(grouped(PLAIN))
    assert texts(graph) == ["a red boat", "fog", 77, 0.6]
    sampler = graph.nodes["20:2"]
    assert sampler.inputs["scheduler"] == "karras"
    assert sampler.inputs["model"] == Link("1", 0)
    assert sampler.inputs["latent_image"] == Link("5", 0)
    assert graph.nodes["20:0"].inputs["clip"] == Link("1", 1)
    assert graph.nodes["7"].inputs["samples"] == Link("20:2", 0)


def test_a_field_that_a_group_hides_keeps_its_value_inside() -> None:
    data = grouped(PLAIN)
    data["extra"]["groupNodes"]["pass"]["config"] = {"1": {"input": {"text": {"visible": False}}}}
    data["nodes"][-1]["widgets_values"].remove("fog")
    assert texts(read(data)) == ["a red boat", "", 77, 0.6]


def test_a_node_that_is_not_installed_does_not_shift_the_values_of_a_group() -> None:
    data = grouped(PLAIN)
    data["extra"]["groupNodes"]["pass"]["nodes"][0]["type"] = "TextFromElsewhere"
    graph = read(data)
    assert graph.nodes["20:0"].type == "TextFromElsewhere"
    assert graph.nodes["20:1"].inputs["text"] == "fog"
    assert graph.nodes["20:2"].inputs["seed"] == 77


def test_a_muted_group_runs_nothing_of_it() -> None:
    data = grouped(PLAIN)
    data["nodes"][-1]["mode"] = 2
    assert {"20:0", "20:1", "20:2"}.isdisjoint(read(data).nodes)


def test_the_fields_that_a_subgraph_shows_by_proxies_count() -> None:
    assert texts(read(proxied(PLAIN))) == ["a red boat", SHOWN[1], 77, 0.25]


@pytest.mark.parametrize(
    ("proxy", "value", "expected"),
    [
        (["30", "text"], "outer", ["outer", "", 77, 0.25]),
        (["30", "6: denoise"], 0.5, ["a red boat", "", 77, 0.5]),
        (["30", "4: text"], "outer", ["a red boat", "outer", 77, 0.25]),
        (["30", "$$canvas-image-preview"], "x", ["a red boat", "", 77, 0.25]),
        (["99", "text"], "x", ["a red boat", "", 77, 0.25]),
    ],
)
def test_what_is_shown_further_out_counts_more(proxy: list[str], value: Any, expected: Any) -> None:
    assert texts(read(proxied_twice(PLAIN, proxy, value))) == expected


def broken_group(**changes: Any) -> dict[str, Any]:
    data = copy.deepcopy(grouped(PLAIN))
    data["extra"]["groupNodes"]["pass"] |= changes
    return data


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": "none"}, "expected a list of nodes"),
        ({"nodes": [{"type": 1}]}, "expected a list of nodes"),
        ({"links": [[0, 0, 9, 0]]}, "not a link"),
        ({"links": [[0, 0, 2]]}, "not a link"),
        ({"links": [[-1, 0, 2, 1]]}, "not a link"),
    ],
)
def test_a_damaged_group_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read(broken_group(**changes))


def test_a_damaged_proxy_is_refused() -> None:
    data = proxied(PLAIN)
    data["nodes"][-1]["properties"]["proxyWidgets"] = [["3"]]
    with pytest.raises(FormatError, match="proxyWidgets: expected"):
        read(data)


def test_a_group_in_itself_is_refused() -> None:
    data = grouped(PLAIN)
    data["extra"]["groupNodes"]["pass"]["nodes"][0]["type"] = "workflow>pass"
    with pytest.raises(FormatError, match="nested too deep"):
        read(data)


def test_a_node_of_a_group_that_the_file_lacks_is_a_node_that_is_not_installed() -> None:
    data = grouped(PLAIN)
    data["extra"] = {}
    assert read(data).nodes["20"].type == "workflow>pass"
