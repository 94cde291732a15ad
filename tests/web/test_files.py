"""Files: uploads are checked and cleaned; a view shows images only."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from latentloom.engine.files.image_formats import format_named
from latentloom.web.client import RejectedError
from tests.web.serving import Served, prompt, served


def image(format: str = "PNG", size: tuple[int, int] = (8, 6), **options: Any) -> bytes:
    sink = io.BytesIO()
    Image.new(options.pop("mode", "RGB"), size, options.pop("colour", "red")).save(
        sink, format, **options
    )
    return sink.getvalue()


def open_image(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_an_upload_is_stored_without_what_no_decoder_needs(tmp_path: Path) -> None:
    text = PngInfo()
    text.add_text("secret", "where I live")

    async def story(api: Served) -> None:
        data = image(pnginfo=text) + b"<script>alert(1)</script>"
        assert await api.client.upload("me.png", data) == "me.png"
        stored = (api.site.folders["input"] / "me.png").read_bytes()
        assert b"where I live" not in stored
        assert b"script" not in stored
        assert open_image(stored).getpixel((0, 0)) == (255, 0, 0)
        assert await api.client.upload("me.png", data) == "me.png"
        assert await api.client.upload("me.png", image(colour="blue")) == "me (1).png"
        replaced = await api.client.upload("me.png", image(colour="blue"), overwrite="true")
        assert replaced == "me.png"
        assert await api.client.upload("deep.png", data, subfolder="a/b") == "a/b/deep.png"
        assert await api.client.upload("page.html", data) == "page.html.png"

    served(tmp_path, story)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("page.png", b"<html><script>alert(1)</script></html>"),
        ("cut.png", image()[:-20]),
        ("empty.png", b""),
        ("film.gif", image("GIF")[:-9]),
        ("scan.tif", image("TIFF")[:-99]),
        ("old.bmp", image("BMP")[:-1]),
        ("vector.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("bomb.png", image(mode="1", size=(13_000, 13_000), colour=0)),
    ],
)
def test_an_upload_that_is_no_sound_image_is_refused(
    name: str, data: bytes, tmp_path: Path
) -> None:
    async def story(api: Served) -> None:
        with pytest.raises(RejectedError) as refused:
            await api.client.upload(name, data)
        assert refused.value.status == 400
        assert list(api.site.folders["input"].iterdir()) == []

    served(tmp_path, story)


def test_an_upload_past_the_bound_is_refused(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        with pytest.raises(RejectedError) as refused:
            await api.client.upload("big.png", bytes(300_000))
        assert refused.value.status == 413

    served(tmp_path, story, max_upload_bytes=100_000)


def test_a_view_gives_the_file_a_channel_or_a_preview(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        data = image(mode="RGBA", colour=(10, 20, 30, 40))
        await api.client.upload("a.png", data)
        where = "/view?filename=a.png&type=input"
        assert open_image((await api.get(where))[1]).getpixel((0, 0)) == (10, 20, 30, 40)
        assert open_image((await api.get(f"{where}&channel=rgb"))[1]).mode == "RGB"
        assert open_image((await api.get(f"{where}&channel=a"))[1]).getpixel((0, 0)) == (
            0,
            0,
            0,
            40,
        )
        assert open_image((await api.get(f"{where}&preview=jpeg;50"))[1]).format == "JPEG"
        assert open_image((await api.get(f"{where}&preview=webp"))[1]).format == "WEBP"
        assert (await api.get("/view?filename=a.png [input]"))[0] == 200
        assert (await api.get("/view?filename=a.png"))[0] == 404
        assert (await api.get("/view?filename=a.png&type=secrets"))[0] == 400

    served(tmp_path, story)


@pytest.mark.parametrize(
    "format", ["GIF", "BMP", "TIFF", *(["AVIF"] if features.check("avif") else [])]
)
def test_every_format_is_taken_and_shown_in_one_that_browsers_know(
    format: str, tmp_path: Path
) -> None:
    async def story(api: Served) -> None:
        name = await api.client.upload("a.image", image(format))
        assert name == f"a.image{format_named(format).suffixes[0]}"
        where = f"/view?filename={name}&type=input"
        shown = open_image((await api.get(where))[1])
        assert shown.format == {"TIFF": "PNG"}.get(format, format)
        red, *others = np.asarray(shown.convert("RGB"))[0, 0].tolist()
        assert red > 240  # AVIF is lossy
        assert max(others) < 15
        assert open_image((await api.get(f"{where}&preview=webp"))[1]).format == "WEBP"
        assert open_image((await api.get(f"{where}&channel=rgb"))[1]).format == "PNG"

    served(tmp_path, story)


def test_a_damaged_file_that_must_be_converted_to_be_shown_is_refused(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        (api.site.folders["output"] / "cut.tif").write_bytes(image("TIFF")[:-99])
        status, answer = await api.get("/view?filename=cut.tif")
        assert (status, "a complete TIFF file" in answer["error"]) == (400, True)

    served(tmp_path, story)


def test_a_file_that_is_not_an_image_is_never_shown_inline(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        page = b"<html><script>alert(1)</script></html>"
        (api.site.folders["output"] / "page.html").write_bytes(page)
        async with api.session.get(f"{api.url}/view?filename=page.html") as response:
            assert response.content_type == "application/octet-stream"
            assert response.headers["Content-Disposition"].startswith("attachment")
            assert response.headers["X-Content-Type-Options"] == "nosniff"

    served(tmp_path, story)


def test_a_mask_becomes_the_alpha_of_a_stored_image(tmp_path: Path) -> None:
    text = PngInfo()
    text.add_text("prompt", "{}")

    async def story(api: Served) -> None:
        (api.site.folders["output"] / "made.png").write_bytes(image(pnginfo=text))
        form = {"original_ref": json.dumps({"filename": "made.png"}), "type": "input"}
        body = aiohttp.FormData(form)
        mask = image(mode="RGBA", colour=(0, 0, 0, 77))
        body.add_field("image", mask, filename="masked.png")
        status, answer = await api.ask("POST", "/upload/mask", data=body)
        assert (status, answer) == (200, {"name": "masked.png", "subfolder": "", "type": "input"})
        stored = open_image((api.site.folders["input"] / "masked.png").read_bytes())
        assert stored.getpixel((0, 0)) == (255, 0, 0, 77)
        assert stored.info["prompt"] == "{}"

    served(tmp_path, story)


@pytest.mark.torch
def test_an_uploaded_image_runs_and_the_result_carries_the_workflow(tmp_path: Path) -> None:
    graph = prompt(
        l=("LoadImage", {"image": "me.png"}),
        s=("SaveImage", {"images": ["l", 0], "filename_prefix": "kept"}),
    )
    workflow = {"id": "w1", "nodes": [], "links": [], "version": 0.4}

    async def story(api: Served) -> None:
        await api.client.upload("me.png", image())
        extra = {"extra_pnginfo": {"workflow": workflow}}
        job = await api.client.submit(graph, extra=extra)
        async for _ in api.client.follow(job):
            pass
        outcome = await api.client.outcome(job)
        assert outcome is not None
        info = open_image(await api.client.fetch(outcome.files[0])).info
        assert json.loads(info["workflow"]) == workflow
        assert json.loads(info["prompt"]).keys() == graph.keys()

    served(tmp_path, story)


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="folders cannot be opened as files")
def test_a_folder_named_as_a_file_is_none_and_is_closed(tmp_path: Path) -> None:
    rounds = 40

    def opened() -> int:
        """Return the lowest free file descriptor."""
        with Path(os.devnull).open() as probe:
            return probe.fileno()

    async def story(api: Served) -> None:
        (api.site.folders["input"] / "clipspace").mkdir()
        ref = json.dumps({"filename": "clipspace", "type": "input"})
        before = opened()
        for _ in range(rounds):
            assert (await api.get("/view?filename=clipspace&type=input"))[0] == 404
            assert (await api.get("/userdata/workflows"))[0] == 404
            form = aiohttp.FormData({"original_ref": ref})
            form.add_field("image", image(mode="RGBA"), filename="mask.png")
            status, _ = await api.ask("POST", "/upload/mask", data=form)
            assert status == 404
        assert opened() - before < rounds  # the server's threads and databases may take a few

    served(tmp_path, story)
