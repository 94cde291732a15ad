"""Every route answers whatever it is sent; no answer is an internal error."""

from __future__ import annotations

import json
import random
import re
import shutil
from typing import Any

import aiohttp
import pytest
from PIL import Image
from yarl import URL

from latentloom.web.app import all_routes, paths_of
from latentloom.web.routes import Route
from tests.web.serving import Served, number, served

ROUTES = [route for route in all_routes() if "/ws" not in route.path]
NAMES = (
    "filename", "subfolder", "type", "preview", "channel", "dir", "recurse", "full_info", "split",
    "path", "overwrite", "limit", "offset", "sort_by", "sort_order", "status", "workflow_id",
    "max_items", "clientId", "invitation",
)  # fmt: skip
TEXTS = (
    "", "a", "0", "-1", "1", "9" * 30, "1e9", "NaN", "%D9%A3", "true", "%00", "%ff", "%ed%a0%80",
    "..", ".", "..%2fx", "a%2fb", "%2f", "%5c", "%252e", "n" * 300, "x" * 3000, "%F0%9F%98%80",
    "CON", "input", "output", "temp", "folder", "photo.png", "wide.png", "photo.png%20[input]",
    "webp;90", "jpeg", "jpeg;%D9%A3", "rgb", "a", "created_at", "execution_duration", "asc",
    "pending", "pending,running", "x.json", "workflows", "workflows%2fx.json", "checkpoints",
    "user.css", "comfy.settings.json", "%0d%0aX:%20y", "a%3Fb", "*", "%22",
)  # fmt: skip
KEYS = (
    "prompt", "prompt_id", "number", "front", "client_id", "extra_data", "delete", "clear",
    "job_ids", "clientId", "enabled", "unload_models", "partial_execution_targets", "class_type",
    "inputs", "1", "value", "username", "workflow", "extra_pnginfo", "id",
)  # fmt: skip
LEAVES: tuple[Any, ...] = (
    None, True, 0, -1, 2**70, 0.5, -0.0, "", "x", "\0", "\x7f", "\U0001f600", "Show", "Number",
    [], {}, [[]], ["1", 0], ["1", -1], ["1", "0"], "x" * 300, "NaN",
)  # fmt: skip


def value(rng: random.Random, depth: int = 4) -> Any:
    """Return a random JSON value with the keys that handlers read."""
    if depth == 0 or rng.random() < 0.3:
        return rng.choice(LEAVES)
    if rng.random() < 0.3:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice(KEYS): value(rng, depth - 1) for _ in range(rng.randrange(5))}


def form(rng: random.Random) -> bytes:
    """Return a form of which some bytes are wrong."""
    names = ("image", "type", "subfolder", "overwrite", "original_ref", "_charset_", "\x01")
    parts = []
    for _ in range(rng.randrange(1, 5)):
        extra = rng.choice(("", "", "\r\nX: \x01", "\r\n" + "h" * 9000, "\r\nContent-Length: -1",
                            "\r\nContent-Transfer-Encoding: base64", "\r\n:",
                            "\r\nContent-Type: multipart/mixed; boundary=c",
                            "\r\nContent-Type: text/plain; charset=nope"))  # fmt: skip
        file = rng.choice(("", '; filename="x.png"', '; filename="\x02"', "; filename*=utf-8''%ff",
                           "; filename*=nope''x", '; filename="../x"'))  # fmt: skip
        content = rng.choice(("", "input", "nope", "{", '{"filename": "folder", "type": "input"}',
                              "--b\r\n" * 50, "\x89PNG\r\n\x1a\n", "%ff"))  # fmt: skip
        name = rng.choice(names)
        head = f'Content-Disposition: form-data; name="{name}"{file}{extra}'
        parts.append(f"--b\r\n{head}\r\n\r\n{content}\r\n")
    body = bytearray("".join(parts).encode("latin-1") + rng.choice((b"--b--\r\n", b"--b", b"")))
    for _ in range(rng.choice((0, 0, 1, 4))):
        body[rng.randrange(len(body))] = rng.randrange(256)
    return bytes(body)


def body_of(route: Route, rng: random.Random) -> dict[str, Any]:
    """Return a random body, and its headers, for a route."""
    if route.body == "none":
        return {}
    if route.body == "form":
        kind = rng.choice(("multipart/form-data; boundary=b",) * 5 + ("multipart/form-data", "x/y"))
        return {"data": form(rng), "headers": {"Content-Type": kind}}
    raw = json.dumps(number(1) if rng.random() < 0.1 else value(rng)).encode()
    if rng.random() < 0.2:
        raw = raw[: rng.randrange(len(raw) + 1)]
    return {"data": raw, "headers": {"Content-Type": "application/json"}}


def url_of(path: str, rng: random.Random) -> str:
    """Return a path with its parts, and a query, of random texts."""
    path = re.sub(r"\{[^}]+\}", lambda _: rng.choice(TEXTS) or "x", path)
    names = rng.sample(NAMES, rng.randrange(4))
    return f"{path}?{'&'.join(f'{name}={rng.choice(TEXTS)}' for name in names)}"


def fill(api: Served) -> None:
    """Put files into the folders, and remove one of the folders."""
    inputs = api.site.folders["input"]
    (inputs / "folder").mkdir()
    Image.new("RGB", (4, 3), "red").save(inputs / "photo.png")
    Image.new("L", (16_500, 1)).save(inputs / "wide.png")
    (api.site.user_dir / "workflows" / "folder").mkdir()
    shutil.rmtree(api.site.folders["temp"])


@pytest.mark.filterwarnings("ignore:.*:aiohttp.BadContentDispositionHeader")
@pytest.mark.filterwarnings("ignore:.*:aiohttp.BadContentDispositionParam")
@pytest.mark.parametrize("seed", range(4))
def test_no_request_is_an_internal_error(seed: int, tmp_path: Any) -> None:
    rng = random.Random(seed)

    async def story(api: Served) -> None:
        fill(api)
        failed = []
        for _ in range(3):
            for route in ROUTES:
                for path in paths_of(route):
                    url = url_of(path, rng)
                    target = URL(f"{api.url}{url}", encoded=True)
                    options = body_of(route, rng)
                    async with api.session.request(route.method, target, **options) as response:
                        await response.read()
                        if response.status == 500:
                            failed.append((route.method, url, options))
        assert failed == []
        assert (await api.client.run(number(seed))).status == "success"

    served(tmp_path, story)


PART = 'form-data; name="image"; filename="x.png"'


@pytest.mark.parametrize(
    "part",
    [
        f'Content-Disposition: {PART}\r\nX: a\x01b\r\n\r\nx'.encode(),
        f'Content-Disposition: {PART[:-5]}\x02.png"\r\n\r\nx'.encode(),
        f'Content-Disposition: {PART}\r\nX: {"h" * 9000}\r\n\r\nx'.encode(),
        f'Content-Disposition: {PART}'.encode() + b"\r\nX: y" * 200 + b"\r\n\r\nx",
        b"--b\r\n" * 5000,
        b"",
    ],
    ids=["control", "name", "long", "many", "storm", "empty"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/upload/image", "/upload/mask"])
def test_a_part_with_headers_that_cannot_be_read_is_refused(
    path: str, part: bytes, tmp_path: Any
) -> None:
    async def story(api: Served) -> None:
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        data = b"--b\r\n" + part + b"\r\n--b--\r\n"
        status, answer = await api.ask("POST", path, data=data, headers=headers)
        assert status == 400
        assert "upload" in answer["error"]

    served(tmp_path, story)


@pytest.mark.parametrize(("preview", "width"), [("webp", 16_384), ("jpeg", 65_501)])
def test_a_preview_beyond_the_sides_of_its_format_is_refused(
    preview: str, width: int, tmp_path: Any
) -> None:
    async def story(api: Served) -> None:
        for size in ((width, 1), (1, width)):
            Image.new("L", size).save(api.site.folders["input"] / "wide.png")
            view = "/view?filename=wide.png&type=input"
            status, answer = await api.get(f"{view}&preview={preview}")
            assert (status, "pixels a side" in answer["error"]) == (400, True)
            assert (await api.get(view))[0] == 200

    served(tmp_path, story)


def test_files_of_a_folder_that_was_removed_are_none(tmp_path: Any) -> None:
    async def story(api: Served) -> None:
        for kind, folder in api.site.folders.items():
            shutil.rmtree(folder)
            assert await api.get(f"/internal/files/{kind}") == (200, [])

    served(tmp_path, story)


def test_a_name_that_is_not_text_is_listed_with_an_escape(tmp_path: Any) -> None:
    async def story(api: Served) -> None:
        name = "odd\udc80.txt"
        try:
            (api.site.folders["output"] / name).write_text("x")
            (api.site.user_dir / "workflows" / name).write_text("x")
        except OSError:
            pytest.skip("the file system takes no such name")
        assert await api.get("/internal/files/output") == (200, [name])
        assert await api.get("/userdata?dir=workflows") == (200, [name])

    served(tmp_path, story)


def test_a_client_s_form_is_read(tmp_path: Any) -> None:
    async def story(api: Served) -> None:
        Image.new("RGB", (4, 3), "red").save(tmp_path / "x.png")
        upload = aiohttp.FormData({"type": "input"})
        upload.add_field("image", (tmp_path / "x.png").read_bytes(), filename="x.png")
        assert (await api.ask("POST", "/upload/image", data=upload))[0] == 200

    served(tmp_path, story)
