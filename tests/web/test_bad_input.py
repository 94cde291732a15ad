"""Bad input is answered: broken JSON, broken graphs, a full disk. No answer is a 500."""

from __future__ import annotations

import errno
import gzip
import io
import itertools
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.jobs.store import JobStore, QueuedJob
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import spec_of
from latentloom.web.prompts import RejectedPromptError, accept, read_graph
from latentloom.web.worker import remove_partial_files
from tests.engine import fakes
from tests.web.serving import Served, number, prompt, served, write, write_float


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"nonsense", b"[" * 100_000, b'{"a":' * 70 + b"1" + b"}" * 70,
        b'{"prompt": NaN}',
        b'{"prompt": {"1": {"class_type": "Show", "inputs": {"value": 1e999}}}}',
        b'{"prompt": 1, "prompt": 2}', b'{"prompt": "\\ud800"}', b"\xff\xfe", b"1" * 5000,
        b'{"prompt": {}} trailing', b'\xef\xbb\xbf{"prompt": {}}', b"null", b'"text"', b"[]", b"3",
        json.dumps({str(n): n for n in range(10_000)}).encode(),
    ],
    ids=range(18),
)  # fmt: skip
def test_a_broken_body_is_answered_with_what_is_wrong(body: bytes, tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        for path in ("/prompt", "/queue", "/history", "/interrupt", "/free", "/settings",
                     "/api/jobs/cancel", "/latentloom/plan"):  # fmt: skip
            status, result = await api.ask("POST", path, data=body)
            assert status in (200, 400, 413), (path, status)
            assert status == 200 or "error" in result
        assert (await api.client.run(number(4))).status == "success"

    served(tmp_path, story)


def test_nan_beside_the_inputs_of_a_node_is_accepted(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        nodes = {id: {**node, "is_changed": [float("nan")]} for id, node in number(4).items()}
        body = json.dumps({"prompt": nodes}).encode()
        assert (await api.ask("POST", "/prompt", data=body))[0] == 200

    served(tmp_path, story)


@pytest.mark.parametrize("body", [gzip.compress(b" " * (64 * 2**20)), b"no gzip"])
@pytest.mark.parametrize(
    "path", ["/prompt", "/settings", "/userdata/a", "/upload/image", "/upload/mask"]
)
def test_a_compressed_body_is_refused(path: str, body: bytes, tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        headers = {"Content-Encoding": "gzip"}
        status, result = await api.ask("POST", path, data=body, headers=headers)
        assert status == 415
        assert "Content-Encoding" in json.dumps(result)

    served(tmp_path, story)


def test_a_form_of_ten_thousand_parts_is_refused(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        form = aiohttp.FormData()
        for part in range(10_000):
            form.add_field(f"part{part}", "x", content_type="text/plain")
        status, _ = await api.ask("POST", "/upload/image", data=form)
        assert status == 400

    served(tmp_path, story)


def test_a_full_disk_refuses_the_job_and_the_next_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_store: JobStore, _job: QueuedJob) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async def story(api: Served) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(JobStore, "submit", fail)
            status, result = await api.post("/prompt", {"prompt": number(6)})
        assert status == 503
        assert "disk is full" in result["error"]
        assert (await api.client.run(number(6))).status == "success"

    served(tmp_path, story)


def test_what_a_dead_writer_began_is_swept_when_it_is_old(tmp_path: Path) -> None:
    part, young = tmp_path / "a" / ".latentloom-1.part", tmp_path / ".latentloom-2.part"
    part.parent.mkdir()
    for path in (part, young, tmp_path / "kept.png"):
        path.write_bytes(b"x")
    os.utime(part, (0, 0))
    remove_partial_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".latentloom-2.part",
        "a",
        "kept.png",
    ]
    assert list(part.parent.iterdir()) == []


def test_a_graph_of_too_many_nodes_is_refused_at_once(tmp_path: Path) -> None:
    many = {str(n): {"class_type": "Number", "inputs": {}} for n in range(60_000)}

    async def story(api: Served) -> None:
        body = io.BytesIO(json.dumps({"prompt": many}).encode())
        status, result = await api.ask("POST", "/prompt", data=body)
        assert status == 400
        assert "at most" in result["error"]["message"]

    served(tmp_path, story)


# Nodes that wait would only cost time, and images of any size only memory.
CHEAP = Registry.of(
    *(
        getattr(fakes, name)
        for name in vars(fakes)
        if spec_of(getattr(fakes, name)) and name != "wait"
    ),
    write,
    write_float,
)
NODES = sorted(CHEAP)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=8),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([-1, 0, 2**63, -0.0, 5e-324, "1e3", "../x", "x.png", True]),
)  # fmt: skip
LINKS = st.tuples(st.sampled_from("abcdefgh"), st.integers(-1, 3)).map(list)
VALUES = st.one_of(SCALARS, LINKS, st.lists(SCALARS, max_size=3),
                   st.dictionaries(st.text(max_size=3), SCALARS, max_size=2))  # fmt: skip
PORTS = sorted({port.name for spec in CHEAP.values() for port in spec.inputs})
ENTRIES = st.one_of(
    st.fixed_dictionaries(
        {
            "class_type": st.one_of(st.sampled_from(NODES), st.text(max_size=5)),
            "inputs": st.dictionaries(st.sampled_from(PORTS), VALUES, max_size=5),
        }
    ),
    VALUES,
)
GRAPHS = st.dictionaries(st.sampled_from("abcdefgh"), ENTRIES, max_size=8)
FUZZ = settings(
    max_examples=int(os.environ.get("LATENTLOOM_FUZZ", "400")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Workspace]]:
    root = tmp_path_factory.mktemp("fuzz")
    with Engine(CHEAP, cache_bytes=2**20) as result:
        yield result, Workspace(input_dir=root / "in", output_dir=root / "out")


@FUZZ
@given(graph=GRAPHS, extra=st.dictionaries(
    st.sampled_from(["prompt_id", "number", "front", "client_id", "extra_data",
                     "partial_execution_targets"]), VALUES, max_size=3))  # fmt: skip
def test_any_prompt_is_refused_in_the_editor_s_shape_or_runs_to_an_end(
    graph: Any, extra: dict[str, Any], engine: tuple[Engine, Workspace]
) -> None:
    runs, workspace = engine
    body: dict[str, Any] = {"error": {"message": ""}, "node_errors": {}}
    try:
        result = accept({"prompt": graph, **extra}, CHEAP, workspace, 0)
    except RejectedPromptError as refused:
        body = refused.body
    else:
        done = runs.run(read_graph(result.job.prompt, CHEAP), workspace, result.job.targets)
        body = {"error": {"message": done.status}, "node_errors": dict(result.node_errors)}
    assert set(body) == {"error", "node_errors"}
    assert body["error"]["message"]
    assert json.dumps(body)


@pytest.mark.parametrize("seed", range(3))
def test_no_accepted_prompt_stops_the_worker(seed: int, tmp_path: Path) -> None:
    kinds = itertools.cycle(["Break", "Parity", "Number", "Halve"])
    graphs = [
        prompt(
            a=("Number", {"value": number}),
            b=(kind, {"a": ["a", 0]} if kind != "Number" else {}),
            s=("Show", {"value": ["b", 0]}),
        )
        for number, kind in zip(range(seed * 20, seed * 20 + 20), kinds, strict=False)
    ]

    async def story(api: Served) -> None:
        for graph in graphs:
            assert (await api.client.run(graph)).status in ("success", "error")
        assert (await api.client.run(number(seed))).status == "success"

    served(tmp_path, story)


def test_a_full_disk_is_answered_as_such_and_the_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sink = io.BytesIO()
    Image.new("RGB", (4, 3), "red").save(sink, "PNG")

    async def story(api: Served) -> None:
        assert (await api.ask("POST", "/userdata/a.json", data=b"1"))[0] == 200
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            form = aiohttp.FormData()
            form.add_field("image", sink.getvalue(), filename="x.png")
            answers = [
                await api.ask("POST", "/upload/image", data=form),
                await api.ask("POST", "/userdata/a.json", data=b"2"),
                await api.post("/settings", {"a": 1}),
            ]
        assert [status for status, _ in answers] == [507] * 3
        assert all("No space left" in answer["error"] for _, answer in answers)
        assert await api.get("/userdata/a.json") == (200, 1)

    served(tmp_path, story)
