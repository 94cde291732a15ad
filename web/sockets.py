"""The WebSocket: who listens, what they are told, and how a slow listener is held to a bound.

Messages may be sent from any thread. Each client has a buffer of its own and a task that empties
it, so that one who does not read delays nobody. When a buffer grows, what is stale in it
(progress, previews, queue counts) is replaced; past its bound the client is cut off, and finds
all that it missed in the history when it comes back.
"""

from __future__ import annotations

import asyncio
import json
import struct
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

CALM = 32
MAX_BYTES = 4 * 2**20
FLAGS_BYTES = 65_536
STALE = frozenset({"progress", "progress_state", "status", "preview"})
PREVIEW, PREVIEW_WITH_METADATA = 1, 4
FORMATS = {"image/jpeg": 1, "image/png": 2}


@dataclass(frozen=True, slots=True)
class Preview:
    """An image of a node on its way, as bytes of a JPEG or PNG."""

    data: bytes
    mime: str
    place: Mapping[str, Any]

    def frame(self, with_metadata: bool) -> bytes:
        """The binary frame, in the form that the client has asked for."""
        if not with_metadata:
            return struct.pack(">II", PREVIEW, FORMATS[self.mime]) + self.data
        facts = json.dumps({**self.place, "image_type": self.mime}).encode()
        return struct.pack(">II", PREVIEW_WITH_METADATA, len(facts)) + facts + self.data


@dataclass(eq=False)
class Client:
    """One open socket."""

    id: str
    socket: web.WebSocketResponse
    flags: Mapping[str, Any] = field(default_factory=dict)
    negotiated: bool = False
    buffer: OrderedDict[object, str | bytes] = field(default_factory=OrderedDict)
    waiting_bytes: int = 0
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    cut: bool = False

    def put(self, message: str | bytes, key: object | None) -> None:
        """Buffer a message; one with a key replaces the last of that key when the buffer grows."""
        if self.cut:
            return
        if key is None or len(self.buffer) < CALM:
            key = (key, object())
        elif (old := self.buffer.pop(key, None)) is not None:
            self.waiting_bytes -= len(old)
        self.buffer[key] = message
        self.waiting_bytes += len(message)
        if self.waiting_bytes > MAX_BYTES:
            self.cut = True
            self.buffer.clear()
        self.awake.set()

    async def write(self) -> None:
        """Send what is buffered until the socket closes."""
        while not self.socket.closed:
            await self.awake.wait()
            self.awake.clear()
            while self.buffer and not self.cut:
                _, message = self.buffer.popitem(last=False)
                self.waiting_bytes -= len(message)
                if isinstance(message, str):
                    await self.socket.send_str(message)
                else:
                    await self.socket.send_bytes(message)
            if self.cut:
                await self.socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"too slow")


class Hub:
    """All open sockets, by client id."""

    def __init__(self, flags: Mapping[str, Any], remaining: Callable[[], int]) -> None:
        self.flags, self.remaining = flags, remaining
        self.clients: dict[str, Client] = {}
        self.running: tuple[str, str] | None = None
        """The client whose job runs, and the node that runs of it."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say which event loop the sockets live in."""
        self._loop = loop

    def detach(self) -> None:
        """Let go of the loop: what is sent from now on goes nowhere."""
        self._loop = None

    def tell(self, client: str | None, type_name: str, data: Mapping[str, Any]) -> None:
        """Send a message to one client, from any thread; to nobody if there is no such client."""
        if client is not None:
            self._call(lambda: self._tell(client, type_name, data))

    def broadcast(self, type_name: str, data: Mapping[str, Any]) -> None:
        """Send a message to every client, from any thread."""

        def tell_all() -> None:
            for id in list(self.clients):
                self._tell(id, type_name, data)

        self._call(tell_all)

    def show(self, client: str | None, preview: Preview) -> None:
        """Send a preview to one client, from any thread."""
        if client is not None:
            self._call(lambda: self._show(client, preview))

    def wants_previews(self, client: str | None) -> bool:
        """Whether somebody would see a preview."""
        return client in self.clients

    def status(self) -> None:
        """Tell every client how many jobs wait or run."""
        self.broadcast("status", {"status": self.counts()})

    def counts(self) -> dict[str, Any]:
        """How many jobs wait or run, as messages and GET /prompt give it."""
        return {"exec_info": {"queue_remaining": self.remaining()}}

    async def listen(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one socket until it closes."""
        socket = web.WebSocketResponse(heartbeat=30, max_msg_size=FLAGS_BYTES, compress=False)
        await socket.prepare(request)
        id = request.query.get("clientId", "")[:128] or uuid.uuid4().hex
        client, old = Client(id, socket), self.clients.get(id)
        self.clients[id] = client
        writer = asyncio.create_task(client.write())
        if old is not None:
            old.cut = True
            old.awake.set()
        self._tell(id, "status", {"status": self.counts(), "sid": id})
        if self.running is not None and self.running[0] == id:
            self._tell(id, "executing", {"node": self.running[1], "display_node": self.running[1]})
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._negotiate(client, message.data)
        finally:
            # A new socket of the same id may have taken its place.
            if self.clients.get(id) is client:
                del self.clients[id]
            writer.cancel()
        return socket

    async def close(self) -> None:
        """Close every socket: the server stops."""
        for client in list(self.clients.values()):
            await client.socket.close(code=WSCloseCode.GOING_AWAY, message=b"the server stops")

    def _negotiate(self, client: Client, text: str) -> None:
        """Take the first message as the client's flags, and answer with ours."""
        if client.negotiated:
            return
        client.negotiated = True
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            return
        if isinstance(message, dict) and message.get("type") == "feature_flags":
            data = message.get("data")
            client.flags = data if isinstance(data, dict) else {}
            self._tell(client.id, "feature_flags", self.flags)

    def _call(self, work: Callable[[], object]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(work)

    def _tell(self, id: str, type_name: str, data: Mapping[str, Any]) -> None:
        client = self.clients.get(id)
        if client is not None:
            key = (type_name, data.get("node")) if type_name in STALE else None
            client.put(json.dumps({"type": type_name, "data": data}), key)

    def _show(self, id: str, preview: Preview) -> None:
        client = self.clients.get(id)
        if client is not None:
            with_metadata = client.flags.get("supports_preview_metadata") is True
            client.put(preview.frame(with_metadata), ("preview", preview.place.get("node_id")))
