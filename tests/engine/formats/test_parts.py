"""Parts of native files: used by name, repeated as passes, imported, and written as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentloom.engine.errors import FormatError, GraphError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.formats import dump_graph, load_graph, parse_graph
from latentloom.engine.formats.native_parts import MAX_IMPORTED_FILES
from latentloom.engine.graph.graph import Graph, InputRef, Link
from tests.engine import fakes

PASSES = """\
latentloom: 1
inputs:
  amounts: {type: int, default: [1, 2, 3]}
parts:
  more:
    inputs: {value: {}, by: 1, start: $start.INT}
    nodes:
      add: {node: Add, a: '${value}', b: '${by}'}
      odd: {node: Parity, a: $add.INT}
    outputs: {value: $add.INT, odd: $odd.INT}
nodes:
  start: {node: Number, value: 10}
  pass: {repeat: more, over: {by: '${amounts}'}, carry: value, value: $start.INT}
  show: {node: Show, value: $pass.value}
  middle: {node: Show, value: $pass2.odd}
"""
ONE = """\
latentloom: 1
parts:
  plus:
    inputs: {a: $start.INT, by: 1}
    nodes:
      add: {node: Add, a: '${a}', b: '${by}'}
    outputs: {sum: $add.INT}
nodes:
  start: {node: Number, value: 10}
  use: {part: plus, by: 5}
  show: {node: Show, value: $use.sum}
"""


LISTS = st.lists(st.integers(0, 9), min_size=2, max_size=6)


def with_parts(parts: str, nodes: str = "  start: {node: Number}\n", inputs: str = "") -> str:
    return f"latentloom: 1\n{inputs}parts:\n{parts}nodes:\n{nodes}"


def shown(graph: Graph) -> Any:
    with Engine(fakes.REGISTRY) as engine:
        return engine.run(graph)["show"]


def test_a_part_stands_for_its_nodes_under_the_name_of_the_use() -> None:
    graph = parse_graph(PASSES)
    assert list(graph.nodes) == [
        "start", "pass1:add", "pass1:odd", "pass2:add", "pass2:odd", "pass3:add", "pass3:odd",
        "show", "middle",
    ]  # fmt: skip
    assert graph.nodes["pass1:add"].inputs == {
        "a": Link("start", "INT"),
        "b": InputRef("amounts", 0),
    }
    assert graph.nodes["pass2:odd"].inputs == {"a": Link("pass2:add", "INT")}
    assert graph.nodes["pass3:add"].inputs["a"] == Link("pass2:add", "INT")
    assert graph.nodes["show"].inputs["value"] == Link("pass3:add", "INT")
    assert graph.nodes["middle"].inputs["value"] == Link("pass2:odd", "INT")
    assert shown(graph) == 16


def test_the_node_of_a_part_with_one_node_is_called_like_the_use() -> None:
    graph = parse_graph(ONE)
    assert list(graph.nodes) == ["start", "use", "show"]
    assert graph.nodes["use"].inputs == {"a": Link("start", "INT"), "b": 5}


@pytest.mark.parametrize("text", [PASSES, ONE])
@pytest.mark.parametrize("form", ["yaml", "json"])
def test_parts_are_written_as_they_were_read(text: str, form: str) -> None:
    graph = parse_graph(text)
    assert parse_graph(dump_graph(graph, form, {})) == graph
    assert ("part: plus" in dump_graph(graph, "yaml", {})) == (text is ONE)


def test_comfyuis_api_json_has_the_nodes_one_by_one() -> None:
    graph = parse_graph(PASSES, fakes.REGISTRY)
    again = parse_graph(dump_graph(graph, "comfy", fakes.REGISTRY), fakes.REGISTRY)
    assert list(again.nodes) == list(graph.nodes)
    assert again.nodes["pass2:add"].inputs == {"a": Link("pass1:add", 0), "b": 2}


def test_a_list_sets_the_number_of_passes_and_only_new_ones_run() -> None:
    graph = parse_graph(PASSES)
    with Engine(fakes.REGISTRY) as engine:
        engine.run(graph)
        result = engine.run(graph.set_input("amounts", [1, 2, 3, 4]))
        ran = {id for id, report in result.nodes.items() if report.state == "ran"}
        assert (result["show"], ran) == (20, {"pass4:add", "show"})
        assert engine.run(graph.set_input("amounts", [5, 6]))["show"] == 21
        alone = parse_graph(PASSES.replace("pass2.odd", "pass.odd")).set_input("amounts", 5)
        assert engine.run(alone)["show"] == 15
        plan = engine.plan(graph.set("pass3.by", 7))
    assert {id for id, step in plan.nodes.items() if step.action == "run"} == {"pass3:add", "show"}


@given(LISTS, LISTS)
def test_setting_a_list_gives_what_the_file_with_that_list_gives(
    first: list[int], second: list[int]
) -> None:
    def read(amounts: list[int]) -> Graph:
        return parse_graph(
            PASSES.replace("[1, 2, 3]", str(amounts)).replace("pass2.odd", "pass1.odd")
        )

    graph = read([4, 5]).set_input("amounts", second).set_input("amounts", first)
    expected = read(first)
    assert graph.bound().nodes == expected.bound().nodes
    assert parse_graph(dump_graph(graph, "yaml", {})).nodes == graph.nodes


def test_the_last_pass_by_its_number_is_the_last_pass_and_an_earlier_one_stays() -> None:
    graph = parse_graph(PASSES.replace("$pass.value", "$pass3.value"))
    assert graph == parse_graph(PASSES)
    longer = graph.set_input("amounts", [1, 2, 3, 4])
    assert longer.nodes["show"].inputs["value"] == Link("pass4:add", "INT")
    assert longer.nodes["middle"].inputs["value"] == Link("pass2:odd", "INT")
    with pytest.raises(GraphError, match=r"Show \(middle\) .value: expected pass2 among"):
        graph.set_input("amounts", [1])


def test_an_input_of_a_part_is_set_where_it_is_used() -> None:
    graph = parse_graph(PASSES)
    assert graph.set("pass2.by", 9).nodes["pass2:add"].inputs["b"] == 9
    everywhere = graph.set("pass.by", 9)
    assert [everywhere.nodes[f"pass{n}:add"].inputs["b"] for n in (1, 2, 3)] == [9, 9, 9]
    first = graph.set("pass.value", 0)
    assert first.nodes["pass1:add"].inputs["a"] == 0
    assert first.nodes["pass2:add"].inputs["a"] == Link("pass1:add", "INT")
    with pytest.raises(GraphError, match="pass9"):
        graph.set("pass9.by", 1)


def test_a_changed_pass_is_written_among_the_values_of_the_passes() -> None:
    text = dump_graph(parse_graph(PASSES).set("pass2.by", 9), "yaml", {})
    assert "over: {by: ['${amounts[0]}', 9, '${amounts[2]}']}" in text


def test_what_was_changed_inside_a_part_is_written_node_by_node() -> None:
    graph = parse_graph(PASSES).set("pass2:odd.a", 3)
    text = dump_graph(graph, "yaml", {})
    assert "'pass2:odd': {node: Parity, a: 3}" in text
    assert "pass3: {part: more" in text
    assert parse_graph(text).nodes == graph.nodes


def test_values_of_passes_count_and_lists_of_the_file_may_be_longer() -> None:
    text = PASSES.replace("{by: '${amounts}'}", "{by: {from: 3, step: 2}, start: [1, 2]}")
    graph = parse_graph(text.replace("pass2.odd", "pass1.odd"))
    assert [graph.nodes[f"pass{n}:add"].inputs["b"] for n in (1, 2)] == [3, 5]
    both = PASSES.replace("'${amounts}'}", "'${amounts}', start: [1, 2, 3, 4]}")
    assert len(parse_graph(both).passes["pass"].uses) == 3
    with pytest.raises(GraphError, match=r"passes \(pass\) .start: expected 5 values or more"):
        parse_graph(both).set_input("amounts", [1] * 5)


def test_lists_of_unequal_length_are_a_problem_until_both_are_set() -> None:
    text = PASSES.replace("'${amounts}'}", "'${amounts}', start: '${starts}'}")
    text = text.replace("inputs:\n", "inputs:\n  starts: {type: int, default: [7, 8, 9]}\n", 1)
    text = text.replace("b: '${by}'", "b: '${by}', c: '${start}'")
    graph = parse_graph(text).set_input("amounts", [1, 2, 3, 4])
    assert graph.bound().nodes["pass4:add"].inputs["c"] == InputRef("starts", 3)
    graph = graph.set_input("starts", [1, 2, 3, 4])
    assert graph.bound().nodes["pass4:add"].inputs["c"] == 4


def test_parts_use_parts() -> None:
    parts = """\
  double:
    inputs: {a: {}}
    nodes: {add: {node: Add, a: '${a}', b: '${a}'}}
    outputs: {sum: $add.INT, same: '${a}'}
  fourfold:
    inputs: {a: {}}
    nodes:
      twice: {part: double, a: '${a}'}
      again: {part: double, a: $twice.sum}
    outputs: {sum: $again.sum, same: $twice.same}
"""
    nodes = "  four: {part: fourfold, a: 3}\n  show: {node: Show, value: $four.sum}\n"
    graph = parse_graph(with_parts(parts, nodes + "  other: {node: Show, value: $four.same}\n"))
    assert list(graph.nodes) == ["four:twice", "four:again", "show", "other"]
    assert graph.nodes["other"].inputs["value"] == 3
    assert shown(graph) == 12
    text = dump_graph(graph, "yaml", {})
    assert parse_graph(text).nodes == graph.nodes
    assert "again: {part: double, a: $twice.sum}" in text


PLUS = """\
  plus:
    inputs: {a: {}}
    nodes: {add: {node: Add, a: '${a}'}}
    outputs: {sum: $add.INT}
"""


@pytest.mark.parametrize(
    ("parts", "nodes", "message"),
    [
        (PLUS, "  n: {part: plusx, a: 1}\n", r"node n: expected a part of the file \(plus\), got"),
        (
            PLUS,
            "  n: {part: plus, a: 1, b: 2}\n",
            r"expected an input of the part plus \(a\), got b",
        ),
        (PLUS, "  n: {part: plus}\n", "expected a value for a, an input of the part plus"),
        (PLUS, "  n: {repeat: plus, over: {a: []}}\n", "expected lists of 1 to 1000 values"),
        (PLUS, "  n: {repeat: plus, over: {a: 3}}\n", "expected a list of values"),
        (PLUS, "  n: {repeat: plus, over: {a: '${x}'}}\n", "whose default is a list"),
        (PLUS, "  n: {repeat: plus, over: {a: [1]}, carry: b}\n", "an input of the part plus"),
        (PLUS, "  n: {repeat: plus, over: {a: [1]}, carry: a}\n", "carry: expected an output"),
        (PLUS, "  n: {repeat: plus, over: {a: [1, 2]}}\n  n1: {node: Number}\n", "used twice"),
        (
            PLUS.replace("nodes: {", "nodes: {n: {node: Number}, "),
            "  n: {part: plus, a: 1}\n  s: {node: Show, value: $n.s}\n",
            r"node n: expected an output of the part plus \(sum\), got \$n.s",
        ),
        (PLUS.replace("'${a}'", "$out.INT"), "", "with the default \\$out.INT"),
        (PLUS.replace("'${a}'", "'${b}'"), "", r"expected an input of the part \(a\), got \${b}"),
        (PLUS.replace("node: Add", "part: plus"), "", "it uses itself: plus -> plus"),
        ("  plus: {import: other.yaml}\n", "", "as this graph is not in a file"),
        ("  plus: {nodes: {}}\n", "", "expected at least one node"),
        ("  plus: 3\n", "", "expected a mapping, got 3"),
    ],
)
def test_a_wrong_part_or_use_is_named(parts: str, nodes: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        parse_graph(with_parts(parts, nodes or "  start: {node: Number}\n"))


def test_uses_of_uses_are_bounded() -> None:
    parts = "  p0:\n    nodes: {n: {node: Number}, m: {node: Number}}\n"
    for n in range(1, 25):
        parts += f"  p{n}:\n    nodes: {{a: {{part: p{n - 1}}}, b: {{part: p{n - 1}}}}}\n"
    with pytest.raises(FormatError, match="at most 100000 nodes"):
        parse_graph(with_parts(parts))


def test_a_part_is_imported_from_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "parts.yaml").write_text(with_parts(PLUS))
    text = with_parts("  more: {import: kit/parts.yaml, part: plus}\n", "  n: {part: more, a: 2}\n")
    (tmp_path / "graph.yaml").write_text(text)
    graph = load_graph(tmp_path / "graph.yaml")
    assert graph.nodes["n"].inputs == {"a": 2}
    assert replace(parse_graph(dump_graph(graph, "yaml", {})), source=None) == graph


@pytest.mark.parametrize(
    "name",
    ["../outside.yaml", "/etc/passwd.yaml", "link.yaml", "missing.yaml", "a.txt", "loop.yaml"],
)
def test_an_import_stays_inside_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "graphs"
    folder.mkdir()
    (tmp_path / "outside.yaml").write_text(with_parts(PLUS))
    (folder / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    (folder / "loop.yaml").write_text(with_parts("  plus: {import: loop.yaml}\n"))
    (folder / "graph.yaml").write_text(with_parts(f"  plus: {{import: {name}}}\n"))
    with pytest.raises(FormatError, match="part plus"):
        load_graph(folder / "graph.yaml")


def test_the_number_of_imported_files_is_bounded(tmp_path: Path) -> None:
    count = MAX_IMPORTED_FILES + 1
    for index in range(count):
        (tmp_path / f"{index}.yaml").write_text(with_parts(PLUS))
    parts = "".join(f"  p{n}: {{import: {n}.yaml, part: plus}}\n" for n in range(count))
    (tmp_path / "graph.yaml").write_text(with_parts(parts))
    with pytest.raises(FormatError, match="at most 32 imported files"):
        load_graph(tmp_path / "graph.yaml")


@st.composite
def files(draw: st.DrawFn) -> str:
    """A file with parts of a few nodes, each used some times in any way."""
    small = st.integers(0, 3)
    parts, nodes, values = "", "  n0: {node: Number, value: 1}\n", ["$n0.INT", "2", "'${list[0]}'"]
    for p in range(draw(st.integers(1, 3))):
        inner = ["'${a}'", "'${b}'", "1"]
        parts += (
            f"  p{p}:\n    inputs: {{a: {draw(st.sampled_from(['{}', '3', '$n0.INT']))}, b: 1}}\n"
        )
        parts += "    nodes:\n"
        for n in range(draw(st.integers(1, 3))):
            kinds = ["Add"] + [f"p{q}" for q in range(p)]
            kind, a, b = draw(st.sampled_from(kinds)), *(draw(st.sampled_from(inner)) for _ in "ab")
            key = "node" if kind == "Add" else "part"
            parts += f"      i{n}: {{{key}: {kind}, a: {a}, b: {b}}}\n"
            inner.append(f"$i{n}.{'INT' if kind == 'Add' else 'a'}")
        parts += f"    outputs: {{a: {draw(st.sampled_from([*inner[:2], *inner[3:]]))}}}\n"
        for u in range(draw(small)):
            name, a, b = f"u{p}{u}", *(draw(st.sampled_from(values)) for _ in "ab")
            over = draw(st.sampled_from(["b: '${list}'", "b: [1, 2]", "b: [4, 4], c: {from: 1}"]))
            if draw(st.booleans()):
                nodes += f"  {name}: {{part: p{p}, a: {a}, b: {b}}}\n"
            else:
                over = over.replace(", c: {from: 1}", "")
                nodes += f"  {name}: {{repeat: p{p}, over: {{{over}}}, carry: a, a: {a}}}\n"
            values.append(f"${name}.a")
    listed = draw(st.lists(small, min_size=1, max_size=3))
    inputs = f"inputs:\n  list: {{type: int, default: {listed}}}\n"
    return with_parts(parts, nodes + f"  show: {{node: Show, value: {values[-1]}}}\n", inputs)


@settings(max_examples=200, deadline=None)
@given(files(), st.sampled_from(["yaml", "json"]))
def test_every_file_with_parts_is_read_back_as_it_was(text: str, form: str) -> None:
    graph = parse_graph(text)
    again = parse_graph(dump_graph(graph, form, {}))
    assert again.nodes == graph.nodes
    assert again.parts == graph.parts
