"""The WebSocket: who gets which messages, reconnecting, slow listeners, previews, traffic."""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, web

from latentloom.engine.node.image_service import EncodedImage, ImageService, PreviewMethod
from latentloom.engine.node.registry import Registry
from latentloom.web.sockets import MAX_BYTES, MAX_UNMERGED, Connection, Hub, PreviewImage
from tests.engine import fakes
from tests.web.serving import FAKES, Served, number, prompt, served


def holding(gate: str, steps: int = 1) -> dict[str, Any]:
    fakes.gates[gate] = threading.Event()
    wait = ("Wait", {"a": 1, "gate": gate, "steps": steps})
    return prompt(w=wait, s=("Show", {"value": ["w", 0]}))


async def next_of(socket: ClientWebSocketResponse, type: str) -> dict[str, Any]:
    while True:
        message = await socket.receive(10)
        assert message.type in (WSMsgType.TEXT, WSMsgType.BINARY), message
        if message.type is WSMsgType.TEXT:
            result = json.loads(message.data)
            if result["type"] == type:
                return cast(dict[str, Any], result["data"])


def test_a_client_without_an_id_is_given_one(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        async with api.session.ws_connect(f"{api.url}/ws") as socket:
            first = await socket.receive_json()
            assert first["type"] == "status"
            assert len(first["data"]["sid"]) == 32
            assert first["data"]["status"] == {"exec_info": {"queue_remaining": 0}}

    served(tmp_path, story)


def test_features_are_told_once_and_only_when_asked(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        async with api.session.ws_connect(f"{api.url}/ws?clientId=a") as socket:
            await socket.send_str("nonsense {")
            await socket.send_json({"type": "feature_flags", "data": {}})
            await api.post("/queue", {})
            seen = [(await socket.receive_json())["type"] for _ in range(2)]
            assert seen == ["status", "status"]
        async with api.session.ws_connect(f"{api.url}/ws?clientId=b") as socket:
            await socket.send_json({"type": "feature_flags", "data": {}})
            assert (await next_of(socket, "feature_flags"))["max_upload_size"] == 100 * 2**20

    served(tmp_path, story)


def test_a_client_that_comes_back_is_told_where_its_job_is(tmp_path: Path) -> None:
    graph = holding("back")

    async def story(api: Served) -> None:
        url = f"{api.url}/ws?clientId=same"
        old = await api.session.ws_connect(url)
        _, job = await api.post("/prompt", {"prompt": graph, "client_id": "same"})
        assert (await next_of(old, "executing"))["node"] == "w"
        new = await api.session.ws_connect(url)
        assert (await next_of(new, "executing"))["node"] == "w"
        # The old socket closes late; the new one must stay the client's.
        await old.close()
        fakes.gates["back"].set()
        assert (await next_of(new, "execution_success"))["prompt_id"] == job["prompt_id"]
        await new.close()

    served(tmp_path, story)


def test_a_job_without_a_client_is_told_to_nobody_and_remembered(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        async with api.session.ws_connect(f"{api.url}/ws?clientId=other") as socket:
            _, job = await api.post("/prompt", {"prompt": number(31)})
            while not (await api.get(f"/history/{job['prompt_id']}"))[1]:
                await asyncio.sleep(0.01)
            await api.post("/queue", {})
            seen = [(await socket.receive_json(timeout=5))["type"] for _ in range(3)]
            assert set(seen) == {"status"}

    served(tmp_path, story)


class Still(web.WebSocketResponse):
    """A socket that never takes anything."""


def listener() -> Connection:
    return Connection("a", Still())


def test_while_a_listener_keeps_up_nothing_is_left_out() -> None:
    client = listener()
    for step in range(MAX_UNMERGED):
        client.put(f"step {step}", ("progress", "n"))
    assert list(client.buffer.values()) == [f"step {step}" for step in range(MAX_UNMERGED)]


def test_for_a_listener_that_does_not_read_stale_messages_are_replaced() -> None:
    client = listener()
    for step in range(10_000):
        client.put(f"step {step}", ("progress", "n"))
        client.put(b"image" * 1000, ("preview", "n"))
    client.put("the end", None)
    assert len(client.buffer) <= MAX_UNMERGED + 3
    assert list(client.buffer.values())[-1] == "the end"
    assert "step 9999" in client.buffer.values()
    assert client.waiting_bytes == sum(len(message) for message in client.buffer.values())


def test_a_listener_past_its_bound_is_cut_off_and_holds_nothing() -> None:
    client = listener()
    for _ in range(MAX_BYTES // 1000 + 2):
        client.put("x" * 1000, None)
    assert client.is_cut
    assert not client.buffer
    client.put("more", None)
    assert not client.buffer


def test_a_listener_that_never_reads_delays_nobody(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        lazy = [await api.session.ws_connect(f"{api.url}/ws?clientId=l{n}") for n in range(10)]
        for value in range(20):
            assert (await api.client.run(number(value))).status == "success"
        for socket in lazy:
            await socket.close()
        await asyncio.sleep(0.05)
        assert list(api.site.hub.clients) == [api.client.id]

    served(tmp_path, story)


class Dots(ImageService):
    """Shows every value as the same few bytes, and the method."""

    def preview(self, value: object, method: PreviewMethod) -> EncodedImage:
        return EncodedImage(b"\xff\xd8" + method.encode(), "image/jpeg")


DOTS = FAKES | Registry.of(Dots())


@pytest.mark.parametrize("modern", [True, False])
def test_previews_come_in_the_form_that_a_client_takes(modern: bool, tmp_path: Path) -> None:
    graph = holding(f"show{modern}")
    fakes.gates[f"show{modern}"].set()

    async def story(api: Served) -> None:
        async with api.session.ws_connect(f"{api.url}/ws?clientId=p") as socket:
            if modern:
                flags = {"supports_preview_metadata": True}
                await socket.send_json({"type": "feature_flags", "data": flags})
                await next_of(socket, "feature_flags")
            _, job = await api.post("/prompt", {"prompt": graph, "client_id": "p"})
            while True:
                message = await socket.receive(10)
                if message.type is WSMsgType.BINARY:
                    break
        (event,) = struct.unpack(">I", message.data[:4])
        assert event == (4 if modern else 1)
        if not modern:
            assert message.data[4:] == b"\0\0\0\1\xff\xd8taesd"
            return
        (length,) = struct.unpack(">I", message.data[4:8])
        data = json.loads(message.data[8 : 8 + length])
        assert message.data[8 + length :] == b"\xff\xd8taesd"
        assert (data["node_id"], data["prompt_id"]) == ("w", job["prompt_id"])
        assert data["image_type"] == "image/jpeg"

    served(tmp_path, story, DOTS, previews="taesd")


def test_no_previews_come_where_none_are_wanted(tmp_path: Path) -> None:
    graph = holding("unseen")
    seen: list[str] = []
    fakes.gates["unseen"].set()

    async def story(api: Served) -> None:
        async with api.session.ws_connect(f"{api.url}/ws?clientId=p") as socket:
            await api.post("/prompt", {"prompt": graph, "client_id": "p"})
            while not seen or seen[-1] != "execution_success":
                message = await socket.receive(10)
                assert message.type is WSMsgType.TEXT
                seen.append(json.loads(message.data)["type"])

    served(tmp_path, story, DOTS, previews=None)
    assert "progress" in seen


def test_a_png_preview_has_its_own_number() -> None:
    assert PreviewImage(b"png", "image/png", {}).frame(False) == b"\0\0\0\1\0\0\0\2png"


def chain(length: int, start: int) -> dict[str, Any]:
    nodes: dict[str, Any] = prompt(**{"0": ("Number", {"value": start})})
    for step in range(1, length):
        nodes |= prompt(**{str(step): ("Add", {"a": [str(step - 1), 0], "b": step})})
    return nodes | prompt(end=("Show", {"value": [str(length - 1), 0]}))


def test_the_traffic_of_a_run_is_linear_in_its_nodes(tmp_path: Path) -> None:
    async def traffic(api: Served, length: int) -> int:
        total = 0
        async with api.session.ws_connect(f"{api.url}/ws?clientId=t{length}") as socket:
            body = {"prompt": chain(length, length * 1000), "client_id": f"t{length}"}
            await api.post("/prompt", body)
            while True:
                text = await socket.receive_str(timeout=20)
                total += len(text)
                result = json.loads(text)
                if result["type"] == "executing" and result["data"]["node"] is None:
                    return total

    async def story(api: Served) -> None:
        # Three messages for each node, fewer where stale ones are merged; a message that named
        # all nodes would take a hundred times as much.
        assert await traffic(api, 500) < 500 * 1000

    served(tmp_path, story)


def test_messages_after_the_loop_is_gone_go_nowhere() -> None:
    hub, client = Hub({}, lambda: 0), listener()
    hub.clients["a"] = client

    async def live() -> None:
        hub.attach(asyncio.get_running_loop())
        hub.send("a", "first", {})
        hub.broadcast("second", {})
        await asyncio.sleep(0)

    asyncio.run(live())
    # The loop is closed, then let go; the worker's thread may still speak.
    hub.send("a", "third", {})
    hub.detach()
    hub.broadcast("fourth", {})
    assert [json.loads(message)["type"] for message in client.buffer.values()] == [
        "first", "second",
    ]  # fmt: skip
