"""Bad input is answered, never followed: paths, JSON, graphs. No answer is a 500."""

from __future__ import annotations

import io
import itertools
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from engine.executor import Engine
from engine.jobs import JobStore, QueuedJob
from engine.registry import Registry
from engine.spec import spec_of
from engine.workspace import UnsafePathError, Workspace, read_inside
from tests.engine import fakes
from tests.web.serving import Served, number, prompt, served, write, write_float
from tests.web.test_rooms import picture
from web.prompts import PromptRefused, accept, read_graph
from web.worker import sweep

CANARY = b"the canary sings"
TARGETS = ("canary.txt", "etc/passwd", "queue.sqlite")
UPS = (
    "../",
    "..\\",
    "%2e%2e/",
    "%2e%2e%2f",
    "..%2f",
    "..%5c",
    "%252e%252e%252f",
    "....//",
    "..;/",
    ".../",
    "..//",
    "./../",
    "a/../../",
    "..\u2215",
    "\uff0e\uff0e/",
    "%c0%ae%c0%ae/",
    "..%00/",
    "..\x00/",
    "/",
    "//",
    "\\",
    "\\\\",
    "C:\\",
    "C:/",
    "c:",
    "file:///",
    "\\\\?\\",
    "//server/share/",
    "~/",
    "~root/",
    "/proc/self/cwd/",
    "/dev/fd/0/",
    "link/",
    "loop/",
    "out_link/",
)
ODD = (
    "CON",
    "nul.png",
    "com1.txt",
    "a.png.",
    "a.png ",
    " ",
    ".",
    "..",
    "...",
    "a\nb.png",
    "a\rb",
    "\u202egnp.a",
    "a\x00.png",
    "a" * 300,
    "é" * 200,
    "e\u0301.png",
    "\ud800",
    "a:b",
    "a|b",
    "a?b",
    "a*b",
    'a"b',
    "<script>.png",
    "a/../b",
    "a//b",
    "",
    "x" * 2000,
    ".latentloom/queue.sqlite",
    "\u2066a",
    "a\x7fb",
    "$HOME",
    "`id`",
    "%s%n",
    "{{7*7}}",
    "__proto__",
    "con.tar.gz",
    "canary.txt",
)
CORPUS = sorted(
    {f"{up * depth}{target}" for up in UPS for depth in (1, 2, 5) for target in TARGETS} | set(ODD)
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A data folder with links out of it, and a canary where they lead."""
    (tmp_path / "canary.txt").write_bytes(CANARY)
    data = tmp_path / "data"
    for root in ("input", "output", "temp", "user/default"):
        folder = data / root
        folder.mkdir(parents=True)
        (folder / "out_link").symlink_to(tmp_path)
        (folder / "link").symlink_to(tmp_path)
        (folder / "loop").symlink_to(folder / "loop")
        (folder / "canary.txt").symlink_to(tmp_path / "canary.txt")
    return data


def everything(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if "data/" not in f"{path}/"}


def test_the_corpus_is_large_enough() -> None:
    assert len(CORPUS) >= 300


def is_text(name: str) -> bool:
    return name.isascii() or name.encode("utf-8", "ignore").decode() == name


async def ask_for(api: Served, name: str) -> list[tuple[str, int, bytes]]:
    """Every route that takes a name, asked for this one."""
    quoted = quote(name, safe="", errors="surrogatepass")
    found: list[tuple[str, int, bytes]] = []
    for method, path in (
        ("GET", f"/view?filename={quoted}"),
        ("GET", f"/view?filename=canary.txt&subfolder={quoted}"),
        ("GET", f"/view?filename=a.png&type={quoted}"),
        ("GET", f"/userdata/{quoted}"),
        ("GET", f"/userdata?dir={quoted}&recurse=true"),
        ("GET", f"/v2/userdata?path={quoted}"),
        ("DELETE", f"/userdata/{quoted}"),
        ("POST", f"/userdata/{quoted}?overwrite=true"),
        ("POST", f"/userdata/mine.json/move/{quoted}"),
        ("GET", f"/view_metadata/checkpoints?filename={quoted}"),
        ("GET", f"/models/{quoted}"),
        ("GET", f"/experiment/models/preview/checkpoints/0/{quoted}"),
        ("GET", f"/internal/files/{quoted}"),
        ("GET", f"/templates/{quoted}"),
        ("GET", f"/history/{quoted}"),
        ("GET", f"/{quoted}"),
    ):
        url = URL(f"{api.url}{path}", encoded=True)
        async with api.session.request(method, url, data=b"{}" if method == "POST" else None) as it:
            found.append((f"{method} {path}", it.status, await it.read()))
    return found


def test_no_name_reaches_out_of_its_folder(tree: Path) -> None:
    before = everything(tree.parent)

    async def story(api: Served) -> None:
        for name in CORPUS:
            for what, status, body in await ask_for(api, name):
                assert CANARY not in body, what
                assert status < 500, what
                assert b"root:" not in body, what

    served(tree, story)
    assert everything(tree.parent) == before
    assert (tree.parent / "canary.txt").read_bytes() == CANARY


def test_no_upload_is_stored_out_of_its_folder(tree: Path) -> None:
    before, data = everything(tree.parent), picture()

    async def story(api: Served) -> None:
        for name in filter(is_text, CORPUS):
            for filename, subfolder in ((name, ""), ("a.png", name)):
                form = aiohttp.FormData({"subfolder": subfolder, "overwrite": "true"})
                # A client cannot send these in a header; the subfolder is where they are tried.
                plain = "".join(letter for letter in filename if letter.isprintable())
                form.add_field("image", data, filename=plain or "a.png")
                status, _ = await api.ask("POST", "/upload/image", data=form)
                assert status < 500, (filename[:50], subfolder[:50])

    served(tree, story)
    assert everything(tree.parent) == before
    assert (tree.parent / "canary.txt").read_bytes() == CANARY


def test_no_node_reads_or_writes_out_of_its_folder(tree: Path) -> None:
    before = everything(tree.parent)

    async def story(api: Served) -> None:
        for name in filter(is_text, CORPUS):
            body = {"prompt": prompt(
                l=("LoadImage", {"image": name}),
                p=("PreviewImage", {"images": ["l", 0]}),
                s=("SaveImage", {"images": ["l", 0], "filename_prefix": name}),
            )}  # fmt: skip
            status, found = await api.post("/prompt", body)
            assert status == 400, (name, found)

    served(tree, story)
    assert everything(tree.parent) == before


def test_a_folder_that_is_swapped_for_a_link_is_never_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.txt").write_bytes(CANARY)
    root = tmp_path / "root"
    (root / "real").mkdir(parents=True)
    (root / "real" / "a.txt").write_bytes(b"inside")
    (root / "door").mkdir()
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (root / "door").rmdir()
            (root / "door").symlink_to(tmp_path / "outside")
            (root / "door").unlink()
            (root / "real").rename(root / "door")
            (root / "door").rename(root / "real")
            (root / "door").mkdir()

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen: set[bytes] = set()
    for _ in range(10_000):
        try:
            seen.add(read_inside(root, "door/a.txt", 100))
        except (UnsafePathError, OSError):
            seen.add(b"")
    stop.set()
    swapper.join()
    assert CANARY not in seen


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
            status, found = await api.ask("POST", path, data=body)
            assert status in (200, 400, 413), (path, status)
            assert status == 200 or "error" in found
        assert (await api.client.run(number(4))).status == "success"

    served(tmp_path, story)


def test_a_compressed_body_is_held_to_the_same_bound(tmp_path: Path) -> None:
    import gzip

    async def story(api: Served) -> None:
        bomb = gzip.compress(b" " * (64 * 2**20))
        headers = {"Content-Encoding": "gzip"}
        status, _ = await api.ask("POST", "/prompt", data=bomb, headers=headers)
        assert status in (400, 413, 415)

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
            status, found = await api.post("/prompt", {"prompt": number(6)})
        assert status == 503
        assert "disk is full" in found["error"]
        assert (await api.client.run(number(6))).status == "success"

    served(tmp_path, story)


def test_what_a_dead_writer_began_is_swept_when_it_is_old(tmp_path: Path) -> None:
    part, young = tmp_path / "a" / ".latentloom-1.part", tmp_path / ".latentloom-2.part"
    part.parent.mkdir()
    for path in (part, young, tmp_path / "kept.png"):
        path.write_bytes(b"x")
    os.utime(part, (0, 0))
    sweep(tmp_path)
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
        status, found = await api.ask("POST", "/prompt", data=body)
        assert status == 400
        assert "at most" in found["error"]["message"]

    served(tmp_path, story)


# Nodes that wait would only cost time, and pictures of any size only memory.
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
    with Engine(CHEAP, cache_bytes=2**20) as found:
        yield found, Workspace(input_dir=root / "in", output_dir=root / "out")


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
        found = accept({"prompt": graph, **extra}, CHEAP, workspace, 0)
    except PromptRefused as refused:
        body = refused.body
    else:
        done = runs.run(read_graph(found.job.prompt, CHEAP), workspace, found.job.targets)
        body = {"error": {"message": done.status}, "node_errors": dict(found.node_errors)}
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
