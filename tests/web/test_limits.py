"""A request makes the server hold a bounded amount; docs/limits.md is the table of bounds."""

from __future__ import annotations

import ast
import asyncio
import importlib
import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from latentloom.engine.errors import FormatError
from latentloom.engine.formats.parsing import MAX_VALUES, parse_json
from latentloom.engine.jobs import store
from latentloom.engine.node.image_service import EncodedImage, ImageService
from latentloom.web import info, problems, routes, userdata
from latentloom.web.problems import MAX_CYCLE_NODES, MAX_SHOWN
from latentloom.web.prompts import MAX_ID_CHARS
from latentloom.web.routes import MAX_INLINE_CHARS
from tests.web.serving import Served, number, prompt, served

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\|[^|]+\| (\d+) \| `([\w.]+)\.(\w+)` \|", re.MULTILINE)
LIMITS = ROW.findall((ROOT / "docs" / "limits.md").read_text("utf-8"))


def ring(count: int) -> dict[str, Any]:
    """A prompt of nodes in a circle, with an output."""
    nodes = {f"n{i}": ("Add", {"a": [f"n{(i + 1) % count}", 0]}) for i in range(count)}
    return prompt(**nodes, out=("Show", {"value": ["n0", 0]}))


def bad_chain(count: int) -> dict[str, Any]:
    """A prompt of bad nodes in a row, with an output at each."""
    nodes: dict[str, tuple[str, dict[str, Any]]] = {"n0": ("Number", {"value": "bad"})}
    nodes |= {f"n{i}": ("Add", {"a": [f"n{i - 1}", 0], "b": "bad"}) for i in range(1, count)}
    nodes |= {f"out{i}": ("Show", {"value": [f"n{i}", 0]}) for i in range(count)}
    return prompt(**nodes)


@pytest.mark.parametrize(("number", "module", "name"), LIMITS, ids=lambda part: str(part))
def test_the_documented_limit_is_that_of_the_code(number: str, module: str, name: str) -> None:
    assert getattr(importlib.import_module(f"latentloom.{module}"), name) == int(number)


def test_every_row_of_the_tables_is_compared() -> None:
    text = (ROOT / "docs" / "limits.md").read_text("utf-8")
    assert len(LIMITS) == text.count("\n| ") - text.count("\n|---")


BOUND = re.compile(r"_?MAX_\w+|\w+_AT_ONCE|\w+_CACHED")
# They bound no memory and no work: ranges of values, lengths of what a message shows, times that
# only delay, and what the other tables of limits are made of.
OTHER_BOUNDS = {
    "console": {"*"},
    "diffusion.families.zimage": {"MAX_POSITIONS"},
    "diffusion.images.crop_stitch": {"MAX_ASPECT"},
    "diffusion.images.detectors": {"MAX_OVERLAP"},
    "diffusion.images.encode": {"MAX_SIDES_PX"},
    "diffusion.images.tone": {"MAX_GAIN"},
    "diffusion.images.unread_parts": {"MAX_DIFFERENCE"},
    "diffusion.images.transcode": {"_MAX_SIDES_PX"},
    "diffusion.networks.fast.fused": {"MAX_GROUP_VALUES"},
    "diffusion.networks.preview": {"MAX_SCALE"},
    "diffusion.networks.residency": {"MAX_GIB"},
    "diffusion.samplers.dpm_solver": {"MAX_ERROR"},
    "diffusion.sampling.sides": {"MAX_REPEATS"},
    "diffusion.schedules.model_sampling": {"MAX_PERCENT_SIGMA"},
    "diffusion.text.prompt": {"MAX_WEIGHT"},
    "diffusion.weights.pickled_values": {"MAX_INTEGER_KEY"},
    "engine.cache.gibibytes": {"MAX_GIB"},
    "engine.errors": {"MAX_LISTED"},
    "engine.execution.sweep": {"MAX_LABEL"},
    "engine.files.saving": {"MAX_NAME_BYTES"},
    "engine.files.workspace": {"MAX_NAME_LENGTH", "MAX_PATH_LENGTH"},
    "engine.formats": {"MAX_SHOWN", "MAX_SHOWN_CHARS", "MAX_TEXT_CHARS", "MAX_PACK_CHARS",
                       "MAX_NAME_CHARS", "MAX_SEED", "MAX_SIDE_PX", "MAX_SCALE", "MAX_OPTIONS",
                       "MAX_CHOICES", "MAX_VALUE", "MAX_INLINE_CHARS"},
    "engine.graph.literal": {"MAX_LENGTH", "MAX_OPTIONS"},
    "engine.jobs.damage": {"MAX_NAMED", "MAX_ID_CHARS"},
    "engine.jobs.store": {"MAX_ATTEMPTS"},
    "engine.formats.contact_sheet": {"MAX_TYPE_PX"},
    "engine.graph.axes": {"MAX_EXPONENT"},
    "nodes.image_transform": {"MAX_SIDE_PX"},
    "engine.formats.yaml_text": {"MAX_KEY_CHARS", "MAX_SHORT_CHARS"},
    "nodes.lint": {"MAX_AT_ONCE"},
    "nodes.numeric": {"MAX_DIGITS"},
    "nodes.strings": {"MAX_WIDTH_DIGITS"},
    "nodes.lint_prompt": {"MAX_SHOWN"},
    "web.client": {"MAX_MESSAGE_BYTES"},
    "web.routes": {"MAX_INLINE_CHARS"},
    "web.site": {"MAX_NAMED"},
}  # fmt: skip


def bounds_in_the_code() -> set[tuple[str, str]]:
    """Return every constant of a module that is named like a bound."""
    return {
        (".".join(path.relative_to(ROOT).with_suffix("").parts), name.id)
        for folder in ("engine", "diffusion", "nodes", "web", "console")
        for path in (ROOT / folder).rglob("*.py")
        for item in ast.parse(path.read_text("utf-8")).body
        if isinstance(item, ast.Assign | ast.AnnAssign)
        for target in (item.targets if isinstance(item, ast.Assign) else [item.target])
        for name in ast.walk(target)
        if isinstance(name, ast.Name) and BOUND.fullmatch(name.id)
    }


def test_every_bound_of_the_code_is_in_the_tables() -> None:
    listed = {(module, name) for _, module, name in LIMITS}
    missing = [
        f"{module}.{name}"
        for module, name in sorted(bounds_in_the_code() - listed)
        if not any(
            f"{module}.".startswith(f"{other}.") and names & {name, "*"}
            for other, names in OTHER_BOUNDS.items()
        )
    ]
    assert missing == []


@pytest.mark.parametrize(
    "path", ["/userdata?dir=workflows&recurse=true", "/userdata?dir=workflows&full_info=true",
             "/v2/userdata?path=workflows", "/internal/files/output"],
)  # fmt: skip
def test_a_list_of_files_has_a_length(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(userdata, "MAX_LISTED", 5)
    monkeypatch.setattr(info, "MAX_LISTED", 5)

    async def story(api: Served) -> None:
        for folder in (api.site.user_dir / "workflows", api.site.folders["output"]):
            for index in range(9):
                (folder / f"{index}.json").touch()
        _, listed = await api.get(path)
        assert len(listed) == 5

    served(tmp_path, story)


def test_a_recursive_list_enters_folders_and_follows_no_links(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        folder = api.site.user_dir / "workflows"
        (folder / "a" / "b").mkdir(parents=True)
        (folder / "a" / "b" / "c.json").touch()
        (folder / "a" / "loop").symlink_to(folder)
        (folder / "d.json").touch()
        path = "/userdata?dir=workflows&recurse=true"
        assert await api.get(path) == (200, ["a/b/c.json", "d.json"])

    served(tmp_path, story)


@pytest.mark.parametrize("graph", [ring, bad_chain])
def test_the_answer_to_a_bad_graph_grows_with_the_graph_only(tmp_path: Path, graph: Any) -> None:
    async def story(api: Served) -> None:
        sizes = [
            len(json.dumps((await api.post("/prompt", {"prompt": graph(count)}))[1]))
            for count in (200, 800)
        ]
        assert sizes[1] < 5 * sizes[0]

    served(tmp_path, story)


def test_a_long_cycle_is_reported_at_its_first_nodes(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        status, body = await api.post("/prompt", {"prompt": ring(2000)})
        assert status == 400
        assert len(body["node_errors"]) == MAX_CYCLE_NODES
        (error,) = body["node_errors"]["n0"]["errors"]
        assert len(error["extra_info"]["cycle_nodes"]) == MAX_SHOWN
        assert "(1980 more nodes)" in error["details"]

    served(tmp_path, story)


def test_a_bad_node_names_the_first_outputs_that_depend_on_it(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        _, body = await api.post("/prompt", {"prompt": bad_chain(50)})
        errors = body["node_errors"]
        assert errors["n0"]["dependent_outputs"] == [f"out{i}" for i in range(MAX_SHOWN)]
        assert errors["n48"]["dependent_outputs"] == ["out48", "out49"]

    served(tmp_path, story)


def test_errors_are_reported_at_a_bounded_number_of_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problems, "MAX_NODES_WITH_ERRORS", 5)

    async def story(api: Served) -> None:
        _, body = await api.post("/prompt", {"prompt": bad_chain(50)})
        assert list(body["node_errors"]) == [f"n{i}" for i in range(5)]

    served(tmp_path, story)


def test_an_id_of_a_node_has_a_length(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        graph = prompt(**{"n" * (MAX_ID_CHARS + 1): ("Number", {"value": 1})})
        status, body = await api.post("/prompt", {"prompt": graph})
        assert (status, body["error"]["type"]) == (400, "invalid_prompt")

    served(tmp_path, story)


@pytest.mark.parametrize(
    ("path", "name"),
    [("/queue", "delete"), ("/history", "delete"), ("/api/jobs/cancel", "job_ids")],
)
def test_a_request_names_a_bounded_number_of_jobs(
    path: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "MAX_IDS", 5)

    async def story(api: Served) -> None:
        for count, status in ((5, 200), (6, 400)):
            assert (await api.post(path, {name: ["x"] * count}))[0] == status

    served(tmp_path, story)


def test_a_full_queue_is_answered_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(api: Served) -> None:
        monkeypatch.setattr(store, "MAX_QUEUE_BYTES", 1)
        status, body = await api.post("/prompt", {"prompt": number(1)})
        assert (status, body["error"]["type"]) == (503, "invalid_prompt")

    served(tmp_path, story)


def test_only_connected_clients_are_sent_the_log(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        for id in ("a", "b"):
            async with api.session.ws_connect(f"{api.url}/ws?clientId={id}") as socket:
                await socket.receive_json()
                body = {"clientId": id, "enabled": True}
                assert (await api.ask("PATCH", "/internal/logs/subscribe", json=body))[0] == 200
                assert api.site.logs.subscribers == {id}
            while api.site.hub.clients:
                await asyncio.sleep(0.01)

    served(tmp_path, story)


def test_a_json_of_too_many_values_is_refused_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(json, "loads", lambda *_args, **_options: pytest.fail("it was parsed"))
    for text in ("[" + "0," * MAX_VALUES + "0]", "{" + '"a":0,' * (MAX_VALUES // 2) + '"b":0}'):
        with pytest.raises(FormatError, match="more than 1000000 values"):
            parse_json(text)


def test_commas_in_strings_are_no_values() -> None:
    text = r"\"" + ",:" * MAX_VALUES
    assert parse_json(json.dumps({"text": text, "more": [1]})) == {"text": text, "more": [1]}


def test_the_queue_answers_while_images_are_decoded(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        decoded = threading.Event()
        (api.site.folders["input"] / "slow.png").write_bytes(b"slow")
        api.site.image_service = Slow(decoded)
        view = "/view?filename=slow.png&type=input"
        views = [asyncio.create_task(api.get(view)) for _ in range(20)]
        try:
            while not api.site.pools.images.is_busy:
                await asyncio.sleep(0)
            for path in ("/history", "/queue", "/api/jobs", "/prompt", "/settings"):
                assert (await api.get(path))[0] == 200
            graph = {"prompt": number(1), "padding": " " * MAX_INLINE_CHARS}
            assert (await api.post("/prompt", graph))[0] == 200
            assert not any(task.done() for task in views)
        finally:
            decoded.set()
        assert [status for status, _ in await asyncio.gather(*views)] == [200] * 20
        assert not api.site.pools.images.is_busy

    served(tmp_path, story)


class Slow(ImageService):
    """Decodes images when a test says so."""

    def __init__(self, decoded: threading.Event) -> None:
        self.decoded = decoded

    def make_viewable(self, data: bytes) -> EncodedImage | None:
        """Return the file itself, later."""
        self.decoded.wait(50)
        return EncodedImage(data, "image/png")
