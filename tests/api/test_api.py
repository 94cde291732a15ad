"""Latentloom from Python, and the examples of the README and the pages."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import latentloom
from latentloom.console.node_table import node_page
from latentloom.engine.execution.events import AnyEvent, Closed, Progress
from tests.paths import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md")
INVERT = """\
latentloom: 1
nodes:
  photo: {node: LoadImage, image: inputs/house.png}
  invert: {node: ImageInvert, image: $photo.IMAGE}
  save: {node: SaveImage, images: $invert.IMAGE}
"""


def where(tmp_path: Path, graph: latentloom.Graph) -> latentloom.Workspace:
    return latentloom.workspace(graph, output_dir=tmp_path)


def test_values_come_back_in_memory(tmp_path: Path) -> None:
    graph = latentloom.loads(INVERT)
    result = latentloom.run(graph, where(tmp_path, graph))
    assert result["invert"].shape == (1, 128, 128, 3)
    assert result["photo"].MASK.shape == (1, 64, 64)
    assert (result["photo"].IMAGE + result["invert"]).mean() == pytest.approx(1)


SHADES = """\
latentloom: 1
inputs: {shade: {type: float, default: 0.5}}
nodes:
  mask: {node: SolidMask, value: "${shade}", width: 16, height: 16}
  grey: {node: MaskToImage, mask: $mask.MASK}
  white: {node: EmptyImage, width: 16, height: 16, color: 16777215}
  change: {node: ImageDifference, image1: $white.IMAGE, image2: $grey.IMAGE}
sweep: {over: {shade: [0.25, 1.0]}, best: change.psnr}
"""


@pytest.mark.torch
def test_a_sweep_gives_values_and_a_table(tmp_path: Path) -> None:
    graph = latentloom.loads(SHADES)
    cells = latentloom.sweep(graph, {"shade": [0.25, 1.0, 0.5]}, folders=where(tmp_path, graph))
    means = [float(cell["grey"].mean()) for cell in cells]
    assert (len(cells), means) == (3, [0.25, 1.0, 0.5])
    assert [row["shade"] for row in cells.table] == [0.25, 1.0, 0.5]
    assert [row["state"] for row in cells.table] == ["ran"] * 3
    assert cells.table[1]["change.psnr"] == cells.table[1]["value"] == 200.0
    assert [result.cell.values for result in cells.best] == [
        {"shade": text} for text in ("1.0", "0.5", "0.25")
    ]


@pytest.mark.torch
def test_a_sweep_runs_over_the_axes_of_its_file(tmp_path: Path) -> None:
    graph = latentloom.loads(SHADES)
    for _ in range(2):
        cells = latentloom.sweep(graph, folders=where(tmp_path, graph))
        last = list(cells)[-1]
    assert (last.state, last.cell.settings) == ("skipped", (1.0,))
    with pytest.raises(KeyError, match="did not run: skipped"):
        last["grey"]
    with pytest.raises(latentloom.FormatError, match="expected an axis"):
        latentloom.sweep(latentloom.loads(INVERT))


def test_an_unknown_node_of_a_result_is_a_key_error(tmp_path: Path) -> None:
    graph = latentloom.loads(INVERT)
    result = latentloom.run(graph, where(tmp_path, graph))
    with pytest.raises(KeyError, match="no node 'lost'"):
        result["lost"]


def test_a_path_names_an_image_anywhere_and_a_text_does_not(tmp_path: Path) -> None:
    photo = ROOT / "graphs" / "inputs" / "house.png"
    graph = latentloom.loads(INVERT)
    for given in (
        graph.set("photo.image", photo),
        latentloom.loads(INVERT.replace("nodes:", "inputs: {p: {type: image}}\nnodes:"))
        .set("photo.image", latentloom.InputRef("p"))
        .set_input("p", photo),
    ):
        result = latentloom.run(given, where(tmp_path, given))
        assert result["invert"].shape == (1, 128, 128, 3)
    with pytest.raises(latentloom.GraphError, match="is not relative"):
        latentloom.run(graph.set("photo.image", str(photo)))


def test_a_failed_run_raises_and_keeps_what_was_made(tmp_path: Path) -> None:
    graph = latentloom.loads(INVERT).set("photo.image", "inputs/nothing.png")
    with pytest.raises(latentloom.GraphError, match=r"nothing\.png"):
        latentloom.run(graph, where(tmp_path, graph))
    (tmp_path / "out").write_text("in the way")
    graph = latentloom.loads(INVERT)
    with pytest.raises(latentloom.RunError) as caught:
        latentloom.run(graph, where(tmp_path / "out", graph))
    result = caught.value.result
    assert isinstance(result, latentloom.Result)
    assert result["invert"].shape == (1, 128, 128, 3)


def test_save_and_load_are_inverse(tmp_path: Path) -> None:
    graph = latentloom.load("img2img")
    latentloom.save(graph, tmp_path / "copy.yaml")
    assert latentloom.load(tmp_path / "copy.yaml").nodes == graph.nodes


def test_run_async_gives_events_in_the_loop(tmp_path: Path) -> None:
    graph, events = latentloom.loads(INVERT), list[AnyEvent]()
    result = asyncio.run(
        latentloom.run_async(graph, where(tmp_path, graph), on_event=events.append)
    )
    assert result.status == "done"
    assert events[-1] == Closed("done")


def test_cancelling_the_task_cancels_the_run(tmp_path: Path) -> None:
    graph = latentloom.load("txt2img").set("sample.steps", 5000)
    seen: list[int] = []

    async def main() -> None:
        task = asyncio.ensure_future(
            latentloom.run_async(graph, where(tmp_path, graph), on_event=watch)
        )
        running.append(task)
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    def watch(event: Any) -> None:
        if isinstance(event, Progress):
            seen.append(event.step)
            running[0].cancel()

    running: list[asyncio.Task[Any]] = []
    asyncio.run(main())
    assert 1 <= len(seen) < 2000
    assert list(tmp_path.iterdir()) == []


def test_the_builder_refuses_wrong_inputs_at_once() -> None:
    builder = latentloom.build()
    photo = builder.LoadImage(image="inputs/house.png")
    with pytest.raises(latentloom.GraphError) as caught:
        builder.ImageScale(image=photo.MASK, upscale_method="cubic", width=-1, hight=3)
    kinds = sorted(problem.kind for problem in caught.value.problems)
    assert kinds == ["not_in_list", "out_of_range", "unknown_input", "wrong_type"]
    with pytest.raises(latentloom.GraphError, match="did you mean"):
        builder.ImageScal(image=photo)
    with pytest.raises(AttributeError, match="IMAGE, MASK"):
        photo.LATENT  # noqa: B018


def test_handles_of_several_outputs_must_say_which() -> None:
    builder = latentloom.build()
    photo = builder.LoadImage(image="inputs/house.png")
    with pytest.raises(latentloom.GraphError, match="one output of load_image"):
        builder.ImageInvert(image=photo)


def test_built_graphs_have_readable_ids() -> None:
    builder = latentloom.build("Title")
    image, _ = builder.LoadImage(image="inputs/house.png")
    builder.ImageInvert(image=builder.ImageInvert(image=image))
    assert list(builder.graph.nodes) == ["load_image", "image_invert", "image_invert_2"]


def test_the_example_of_the_module_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "graphs").symlink_to(ROOT / "graphs")
    monkeypatch.chdir(tmp_path)
    lines = [line for line in (latentloom.__doc__ or "").splitlines() if line.startswith("    ")]
    result: dict[str, Any] = {}
    exec(compile(textwrap.dedent("\n".join(lines)), "latentloom.py", "exec"), result)
    assert len(lines) == 5
    assert result["image"].shape == (1, 128, 128, 3)
    assert len(list((tmp_path / "output").iterdir())) == 1


def blocks(language: str) -> list[Any]:
    """Return the code blocks of a language in the README and the pages."""
    return [
        pytest.param(code, id=f"{page.stem}-{index}")
        for page in PAGES
        for index, code in enumerate(
            re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        )
    ]


@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_of_the_pages_runs(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", page)
    exec(compile(code, "page.md", "exec"), vars(page))
    assert "Error" not in capsys.readouterr().out


# The graphs of docs/families.md need models that are not here: tests/test_family_docs.py.
@pytest.mark.parametrize(
    "text", [code for code in blocks("yaml") if not str(code.id).startswith("families")]
)
def test_the_graphs_of_the_pages_have_no_problems(text: str) -> None:
    assert latentloom.check(latentloom.loads(text)) == ()


def test_the_readme_has_an_example_of_each() -> None:
    text = PAGES[0].read_text("utf-8")
    assert "```python" in text
    assert "```yaml" in text


def test_the_page_of_nodes_is_current() -> None:
    assert (ROOT / "docs" / "nodes.md").read_text("utf-8") == node_page(latentloom.registry())


def test_links_between_pages_lead_to_files() -> None:
    links = {
        (page, link)
        for page in PAGES
        for link in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8"))
        if "://" not in link
    }
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def test_a_file_or_a_name_is_a_graph_too(graph: Path, tmp_path: Path) -> None:
    assert latentloom.check("img2img") == ()
    assert "sample" in latentloom.plan("img2img").nodes
    assert latentloom.lint(graph) == ()
    opened = latentloom.load(graph)
    result = latentloom.run(str(graph), latentloom.workspace(opened, tmp_path / "out"))
    assert [path.name for _, path in result.saved] == ["small_00001_.png"]
    with pytest.raises(OSError, match="no-such-graph"):
        latentloom.run("no-such-graph")
