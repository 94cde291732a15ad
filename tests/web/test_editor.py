"""ComfyUI's editor, the real package in a real browser, on the demo model.

Images of it are kept under output/screenshots, or where LATENTLOOM_SHOTS says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from latentloom.engine.formats import load_graph, parse_graph
from latentloom.engine.formats.comfy_editor import read_workflow
from latentloom.engine.formats.comfy_prompt import read_prompt, write_prompt
from latentloom.engine.formats.comfy_workflow import write_workflow
from latentloom.engine.formats.comparable import comparable
from latentloom.engine.graph.diff import diff
from latentloom.engine.graph.library import find_graph
from latentloom.engine.node.registry import Registry
from tests.engine.formats.old_files import grouped, plain, proxied, proxied_twice
from tests.engine.formats.test_comfy_editor import shape
from tests.engine.formats.test_subgraph_parts import FILE as WITH_PARTS
from tests.web.browser import CHROMIUM, Editor, Server, chromium_page

pytestmark = [
    pytest.mark.torch,
    pytest.mark.skipif(
        CHROMIUM is None or find_spec("comfyui_frontend_package") is None,
        reason="expected Debian's chromium and the package comfyui-frontend-package",
    ),
]
SHOWN = "Object.values(app.nodeOutputs ?? {}).some(o => o.images?.some(i => i.type === 'output'))"
IMG2IMG = "Image to image"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("editor")


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[Server]:
    result = Server(data)
    yield result
    result.stop()


@pytest.fixture
def closed(server: Server) -> Iterator[Editor]:
    """A page that has not been opened yet; it will show the templates, as on a first visit."""
    server.post("/settings", {"Comfy.TutorialCompleted": False})
    with chromium_page(server.url) as result:
        yield result


@pytest.fixture
def editor(closed: Editor) -> Editor:
    closed.open()
    return closed


def test_a_template_runs_and_shows_progress_previews_and_its_result(
    closed: Editor, server: Server
) -> None:
    editor, frames = closed, list[str | bytes]()
    editor.page.on(
        "websocket", lambda socket: socket.on("framereceived", lambda data: frames.append(data))
    )
    editor.open()
    editor.page.get_by_text(IMG2IMG, exact=True).first.wait_for()
    editor.shot("1-templates")
    editor.template(IMG2IMG)
    editor.page.wait_for_timeout(1500)
    assert editor.ask(f"{editor.node('KSampler')}.badges.length") > 0
    editor.shot("2-before-the-run")
    editor.run()
    editor.wait(SHOWN)
    editor.page.wait_for_timeout(1500)
    editor.shot("3-after-the-run")
    assert any(isinstance(frame, bytes) and frame[:4] == b"\0\0\0\4" for frame in frames)
    assert any(isinstance(frame, str) and '"progress_state"' in frame for frame in frames)
    assert editor.errors == []
    assert next(iter(server.get("/history").values()))["status"]["status_str"] == "success"


def test_the_plan_shows_on_nodes_that_only_what_changed_will_run(editor: Editor) -> None:
    editor.template(IMG2IMG)
    editor.run()
    editor.wait(SHOWN)
    seen = f"{editor.node('KSampler')}.badges.map(b => b().text).join()"
    editor.wait(f"{seen}.includes('reuse') || {seen}.includes('skip')")
    editor.do(
        f"const w = {editor.node('KSampler')}.widgets.find(w => w.name === 'denoise');"
        "w.value = 0.3; w.callback?.(0.3); app.graph.change();"
        "app.extensionManager.workflow.activeWorkflow?.changeTracker?.checkState()"
    )
    editor.wait(f"{seen}.includes('denoise 0.6 -> 0.3')")
    editor.shot("4-the-plan")
    assert editor.errors == []


def test_a_warning_is_on_the_node_and_the_whole_of_it_in_its_menu(editor: Editor) -> None:
    editor.template(IMG2IMG)
    sampler = editor.node("KSampler")
    seen = f"{sampler}.badges.map(b => b().text).join()"
    editor.wait(f"{seen}.includes('run') || {seen}.includes('reuse') || {seen}.includes('skip')")
    assert not editor.ask(f"{seen}.includes('denoise 1')")
    editor.do(
        f"const w = {sampler}.widgets.find(w => w.name === 'denoise');"
        "w.value = 1; w.callback?.(1); app.graph.change();"
        "app.extensionManager.workflow.activeWorkflow?.changeTracker?.checkState()"
    )
    editor.wait(f"{seen}.includes('denoise 1')")
    x, y = editor.ask(
        f"(([n, c]) => {{ const [x, y] = c.ds.convertOffsetToCanvas([n.pos[0] + 60, n.pos[1] - 9]);"
        f" const r = c.canvas.getBoundingClientRect(); return [x + r.left, y + r.top] }})"
        f"([{sampler}, app.canvas])"
    )
    editor.page.mouse.click(x, y, button="right")
    editor.page.get_by_text("Why it runs, and warnings").first.click()
    editor.page.get_by_text("for a new image use EmptyLatentImage").first.wait_for()
    editor.shot("8-warnings")
    assert editor.errors == []


def test_a_node_is_added_and_an_image_uploaded(editor: Editor, tmp_path: Path) -> None:
    from tests.web.test_files import image

    mine = tmp_path / "mine.png"
    mine.write_bytes(image(size=(64, 64)))
    editor.template(IMG2IMG)
    editor.do("app.graph.add(LiteGraph.createNode('ImageInvert'))")
    loader = editor.node("LoadImage")
    with editor.page.expect_file_chooser() as chooser:
        editor.do(f"{loader}.widgets.find(w => w.name === 'upload').callback()")
    chooser.value.set_files(mine)
    editor.wait(f"{loader}.widgets.find(w => w.name === 'image').value === 'mine.png'")
    assert editor.ask(f"!!{editor.node('ImageInvert')}")
    assert editor.errors == []


def test_what_a_node_says_as_text_is_shown_in_it_and_kept_nowhere(editor: Editor) -> None:
    file = "fetch('/templates/inpaint_passes.json').then(r => r.json())"
    editor.ask(f"{file}.then(found => app.loadGraphData(found)).then(() => null)")
    editor.page.keyboard.press("Escape")
    saver = editor.node("SaveReport")
    editor.wait(f"{saver}")
    editor.run()
    editor.wait(f"{saver}.widgets.some(w => w.name === 'shown')")
    editor.page.wait_for_timeout(500)
    editor.do("app.canvas.ds.scale = 1; app.canvas.ds.offset = [-2900, 200]")
    editor.shot("7-a-report")
    shown = editor.ask(f"{saver}.widgets.find(w => w.name === 'shown').value")
    assert shown.splitlines()[0].startswith("pass  sampler")
    assert len(shown.splitlines()) == 4
    stored = editor.ask("app.graphToPrompt().then(found => JSON.stringify(found))")
    assert "pass  sampler" not in stored
    assert editor.errors == []


def test_a_mask_is_painted_and_only_what_it_covers_is_inpainted(
    editor: Editor, server: Server, data: Path
) -> None:
    editor.template(IMG2IMG)
    loader, sampler = editor.node("LoadImage"), editor.node("KSampler")
    editor.page.wait_for_timeout(1000)
    editor.do(f"app.canvas.selectNode({loader})")
    editor.do("app.extensionManager.command.execute('Comfy.MaskEditor.OpenMaskEditor')")
    editor.page.get_by_role("button", name="Save").first.wait_for(timeout=30_000)
    editor.page.wait_for_timeout(1500)
    mouse = editor.page.mouse
    mouse.move(700, 500)
    mouse.down()
    for x in range(700, 900, 10):
        mouse.move(x, 500)
    mouse.up()
    editor.shot("9-mask-editor")
    editor.page.get_by_role("button", name="Save").first.click()
    image = f"{loader}.widgets.find(w => w.name === 'image').value"
    editor.wait(f"{image}.startsWith('clipspace-painted-masked-')")
    editor.do(
        "const mask = LiteGraph.createNode('SetLatentNoiseMask'); app.graph.add(mask);"
        f"{editor.node('VAEEncode')}.connect(0, mask, 'samples');"
        f"{loader}.connect(1, mask, 'mask'); mask.connect(0, {sampler}, 'latent_image')"
    )
    prefix = f"{editor.node('SaveImage')}.widgets.find(w => w.name === 'filename_prefix')"
    editor.do(f"{prefix}.value = 'masked'")
    editor.run()
    editor.wait(SHOWN)
    editor.shot("10-inpainted")
    assert editor.errors == []
    masked = sorted((data / "input").glob("clipspace-painted-masked-*.png"))[-1]
    made = sorted((data / "output").glob("masked_*.png"))[-1]
    with Image.open(masked) as before, Image.open(made) as after:
        inside = before.getchannel("A").point(lambda level: 255 - level)
        change = ImageChops.difference(before.convert("RGB"), after.convert("RGB")).convert("L")
        outside = ImageStat.Stat(change, ImageChops.invert(inside)).mean[0]
        assert inside.getextrema() == (0, 255)
        assert ImageStat.Stat(change, inside).mean[0] > 2 * outside


def test_a_wrong_input_is_marked(editor: Editor) -> None:
    editor.template(IMG2IMG)
    editor.do(f"{editor.node('KSampler')}.widgets.find(w => w.name === 'cfg').value = 1000")
    editor.run()
    editor.wait(f"{editor.node('KSampler')}.has_errors")
    editor.page.wait_for_timeout(500)
    editor.shot("5-a-wrong-input")
    assert not editor.ask(f"!!{editor.node('VAEDecode')}.has_errors")


def test_a_run_is_cancelled(editor: Editor, server: Server) -> None:
    editor.template(IMG2IMG)
    editor.do(f"{editor.node('KSampler')}.widgets.find(w => w.name === 'steps').value = 9000")
    editor.run()
    for _ in range(300):
        if jobs := server.get("/api/jobs?status=in_progress")["jobs"]:
            break
        editor.page.wait_for_timeout(100)
    editor.do("comfyAPI.api.api.interrupt()")
    for _ in range(300):
        if not server.get("/prompt")["exec_info"]["queue_remaining"]:
            break
        editor.page.wait_for_timeout(100)
    assert server.get(f"/api/jobs/{jobs[0]['id']}")["status"] == "cancelled"


def test_the_history_panel_fills_and_a_result_gives_its_graph_back(
    editor: Editor, data: Path
) -> None:
    editor.template(IMG2IMG)
    editor.run()
    editor.wait(SHOWN)
    made = sorted((data / "output").glob("img2img_*.png"))[-1]
    editor.page.get_by_text("0 active").first.click()
    editor.page.wait_for_timeout(1500)
    editor.shot("6-jobs")
    assert editor.page.get_by_text("Completed").count() > 0
    editor.do("app.graph.clear()")
    assert editor.ask("app.graph._nodes.length") == 0
    encoded = list(made.read_bytes())
    editor.page.evaluate(
        "bytes => app.handleFile(new File([new Uint8Array(bytes)], 'a.png', {type: 'image/png'}))",
        encoded,
    )
    editor.wait("app.graph._nodes.length === 8")
    assert editor.errors == []


CHANGES = {
    "as it is": "",
    "bypassed": "app.graph._nodes.find(n => n.type === 'CLIPTextEncode').mode = 4",
    "muted": "app.graph._nodes.find(n => n.type === 'LoadImage').mode = 2",
    "in a subgraph": (
        "app.graph.convertToSubgraph(new Set(app.graph._nodes.filter("
        "n => ['VAEEncode', 'KSampler'].includes(n.type))))"
    ),
}


def test_a_workflow_means_to_us_what_it_means_to_the_editor(editor: Editor) -> None:
    registry = Registry.from_package("latentloom.nodes")
    for change in CHANGES.values():
        file = "fetch('/templates/img2img.json').then(r => r.json())"
        editor.ask(f"{file}.then(found => app.loadGraphData(found)).then(() => null)")
        editor.wait("app.graph._nodes.length === 8")
        editor.do(change)
        text = editor.ask(
            "app.graphToPrompt().then(({workflow, output}) => JSON.stringify([workflow, output]))"
        )
        workflow, expected = json.loads(text)
        result = write_prompt(read_workflow(workflow, registry), registry)
        assert result.keys() == expected.keys(), change
        for id, entry in expected.items():
            spec = registry[entry["class_type"]]
            ours = {k: v for k, v in entry["inputs"].items() if spec.port(k) is not None}
            assert result[id]["inputs"] == ours, (change, id)
    assert editor.errors == []


def test_an_old_file_means_to_us_what_it_means_to_the_editor(editor: Editor) -> None:
    registry = Registry.from_package("latentloom.nodes")
    flow = plain(registry)
    files = [grouped(flow), proxied(flow)]
    files += [proxied_twice(flow, ["30", "text"], "outer")]
    files += [proxied_twice(flow, ["30", "6: denoise"], 0.5)]
    parts = WITH_PARTS.partition("  preview:")[0]
    files += [write_workflow(parse_graph(parts, registry), registry)]
    for file in files:
        editor.page.evaluate(
            "text => app.loadGraphData(JSON.parse(text)).then(() => null)", json.dumps(file)
        )
        editor.wait(f"app.graph._nodes.length === {len(file['nodes'])}")
        expected = editor.ask("app.graphToPrompt().then(found => JSON.stringify(found.output))")
        # Ids inside differ, so nodes are compared by what they are made of.
        theirs = read_prompt(json.loads(expected), registry)
        assert shape(read_workflow(file, registry)) == shape(theirs)
    assert editor.errors == []


def test_native_yaml_is_opened_by_drop_and_exported_from_the_menu(
    editor: Editor, tmp_path: Path
) -> None:
    editor.page.keyboard.press("Escape")
    source = find_graph("multi_pass") or Path()
    editor.drop("three.yaml", source.read_text())
    editor.wait("app.graph._nodes.length === 10")
    editor.do(f"{editor.node('KSampler')}.widgets.find(w => w.name === 'denoise').value = 0.25")
    editor.page.get_by_role("button", name="Menu").first.click()
    editor.page.get_by_text("File", exact=True).first.click()
    item = editor.page.get_by_text("Export (Latentloom YAML)").first
    item.wait_for()
    editor.shot("11-the-menu")
    with editor.page.expect_download() as download:
        item.click()
    exported = tmp_path / download.value.suggested_filename
    download.value.save_as(exported)
    registry = Registry.from_package("latentloom.nodes")
    before, after = load_graph(source, registry), load_graph(exported, registry)
    assert exported.name == "three.yaml"
    assert (after.title, set(after.nodes)) == (before.title, set(before.nodes))
    assert after.inputs["denoise"].default == (0.25, 0.3, 0.2)
    assert (
        diff(*comparable(before.set_input("denoise", (0.25, 0.3, 0.2)), after, registry)).changes
        == ()
    )
    assert editor.errors == []
    editor.drop("bad.yaml", "latentloom: 1\nnodes: [a]\n")
    editor.page.get_by_text("bad.yaml was not opened").first.wait_for()
    editor.shot("12-a-bad-file")


def test_a_workflow_is_there_again_after_a_restart(tmp_path: Path) -> None:
    server = Server(tmp_path)
    with chromium_page(server.url) as editor:
        editor.open()
        editor.template(IMG2IMG)
        editor.ask("app.extensionManager.workflow.activeWorkflow.rename('workflows/kept.json')")
        editor.ask("app.extensionManager.workflow.activeWorkflow.save()")
        editor.page.wait_for_timeout(500)
    server.stop()
    assert (tmp_path / "user/default/workflows/kept.json").is_file()
    again = Server(tmp_path)
    with chromium_page(again.url) as editor:
        editor.open()
        file = "fetch('/api/userdata/workflows%2Fkept.json').then(r => r.json())"
        editor.ask(f"{file}.then(found => app.loadGraphData(found, true, true, 'kept'))")
        editor.wait("app.graph._nodes.length === 8")
        assert editor.errors == []
    again.stop()
