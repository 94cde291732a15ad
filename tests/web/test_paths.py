"""Names are never followed out of their folders: a corpus of them, against whatever takes one."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from latentloom.engine.files.folder import open_folder, read_inside
from latentloom.engine.files.saving import PrefixError, prepare_target, write_numbered
from latentloom.engine.files.workspace import UnsafePathError
from latentloom.web.files import write_file
from tests.web.serving import Served, prompt, served
from tests.web.test_files import image

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
    """Ask every route that takes a name for this one; return the answers."""
    quoted = quote(name, safe="", errors="surrogatepass")
    answers: list[tuple[str, int, bytes]] = []
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
            answers.append((f"{method} {path}", it.status, await it.read()))
    return answers


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
    before, data = everything(tree.parent), image()

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
            status, answer = await api.post("/prompt", body)
            assert status == 400, (name, answer)

    served(tree, story)
    assert everything(tree.parent) == before


def store(root: Path, number: int) -> None:
    write_file(root, "door", f"{number}.txt", b"ours", replace=bool(number % 2))


def save(root: Path, number: int) -> None:
    write_numbered(prepare_target("door/a", root), b"ours", number)


def remove(root: Path, _number: int) -> None:
    with open_folder(root, "door") as folder:
        folder.remove("a.txt")


def take(root: Path, number: int) -> None:
    with open_folder(root, "door") as folder, open_folder(root) as other:
        folder.link("a.txt", other, f"taken_{number}")


@pytest.mark.parametrize("deed", [store, save, remove, take])
def test_nothing_is_done_behind_a_link_that_a_folder_is_swapped_for(
    deed: Callable[[Path, int], None], tmp_path: Path
) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    (outside / "a.txt").write_bytes(CANARY)
    (root / "door").mkdir(parents=True)
    stop, done = threading.Event(), 0

    def swap() -> None:
        for turn in itertools.takewhile(lambda _: not stop.is_set(), itertools.count()):
            with contextlib.suppress(OSError):
                (root / "door").rename(root / f"away_{turn}")
            with contextlib.suppress(OSError):
                (root / "door").symlink_to(outside)
            time.sleep(0.0005)
            with contextlib.suppress(OSError):
                (root / "door").unlink()
            with contextlib.suppress(OSError):
                (root / "door").mkdir()
            time.sleep(0.0005)

    swapper = threading.Thread(target=swap)
    swapper.start()
    for number in range(1, 1_000):
        with contextlib.suppress(UnsafePathError, PrefixError, OSError):
            deed(root, number)
            done += 1
    stop.set()
    swapper.join()
    assert [path.read_bytes() for path in outside.iterdir()] == [CANARY]
    assert not any(path.read_bytes() == CANARY for path in root.rglob("*") if path.is_file())
    assert done or deed in (remove, take)


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
