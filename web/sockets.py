"""The WebSocket: connected clients, messages to them, and a bound for clients that read slowly.

Messages may be sent from any thread. Each client has its own buffer and a task that empties it, so
a client that does not read delays nobody. As a buffer grows, stale messages in it (progress,
previews, queue counts) are replaced. A client beyond the bound is disconnected; the history has
everything it missed.
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

MAX_CLIENT_CHARS = 128
MAX_UNMERGED = 32
MAX_BYTES = 4 * 2**20
MAX_FLAGS_BYTES = 65_536
STALE = frozenset({"progress", "progress_state", "status", "preview"})
PREVIEW, PREVIEW_WITH_METADATA = 1, 4
FORMATS = {"image/jpeg": 1, "image/png": 2}


@dataclass(frozen=True, slots=True)
class PreviewImage:
    """A preview image of a running node, as JPEG or PNG bytes.

    `ids` names its prompt and node.
    """

    data: bytes
    mime: str
    ids: Mapping[str, Any]

    def frame(self, with_metadata: bool) -> bytes:
        """Return the binary frame, with or without metadata as the client negotiated."""
        if not with_metadata:
            return struct.pack(">II", PREVIEW, FORMATS[self.mime]) + self.data
        metadata = json.dumps({**self.ids, "image_type": self.mime}).encode()
        return struct.pack(">II", PREVIEW_WITH_METADATA, len(metadata)) + metadata + self.data


@dataclass(eq=False)
class Connection:
    """One open socket."""

    id: str
    socket: web.WebSocketResponse
    flags: Mapping[str, Any] = field(default_factory=dict)
    negotiated: bool = False
    buffer: OrderedDict[object, str | bytes] = field(default_factory=OrderedDict)
    waiting_bytes: int = 0
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    is_cut: bool = False

    def put(self, message: str | bytes, key: object | None) -> None:
        """Buffer a message; in a full buffer it replaces the last one with the same key."""
        if self.is_cut:
            return
        if key is None or len(self.buffer) < MAX_UNMERGED:
            key = (key, object())
        elif (old := self.buffer.pop(key, None)) is not None:
            self.waiting_bytes -= len(old)
        self.buffer[key] = message
        self.waiting_bytes += len(message)
        if self.waiting_bytes > MAX_BYTES:
            self.is_cut = True
            self.buffer.clear()
        self.awake.set()

    async def write(self) -> None:
        """Send buffered messages until the socket closes."""
        while not self.socket.closed:
            await self.awake.wait()
            self.awake.clear()
            while self.buffer and not self.is_cut:
                _, message = self.buffer.popitem(last=False)
                self.waiting_bytes -= len(message)
                if isinstance(message, str):
                    await self.socket.send_str(message)
                else:
                    await self.socket.send_bytes(message)
            if self.is_cut:
                await self.socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"too slow")


class Hub:
    """All open sockets, by client id."""

    def __init__(self, flags: Mapping[str, Any], remaining: Callable[[], int]) -> None:
        self.flags, self.remaining = flags, remaining
        self.clients: dict[str, Connection] = {}
        self.running: tuple[str, str] | None = None
        """The client whose job is running, and the node that is running."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the event loop of the sockets."""
        self._loop = loop

    def detach(self) -> None:
        """Drop the event loop; later messages are discarded."""
        self._loop = None

    def send(self, client: str | None, type_name: str, data: Mapping[str, Any]) -> None:
        """Send a message to one client from any thread; unknown clients are ignored."""
        if client is not None:
            self._call(lambda: self._send(client, type_name, data))

    def broadcast(self, type_name: str, data: Mapping[str, Any]) -> None:
        """Send a message to every client, from any thread."""

        def send_all() -> None:
            for id in list(self.clients):
                self._send(id, type_name, data)

        self._call(send_all)

    def send_preview(self, client: str | None, preview: PreviewImage) -> None:
        """Send a preview to one client, from any thread."""
        if client is not None:
            self._call(lambda: self._send_preview(client, preview))

    def wants_previews(self, client: str | None) -> bool:
        """Return True if this client is connected."""
        return client in self.clients

    def status(self) -> None:
        """Send the number of pending and running jobs to every client.

        It reads the queue: not to be called in the event loop, which would wait for other readers.
        """
        self.broadcast("status", {"status": self.counts()})

    def counts(self) -> dict[str, Any]:
        """Return the number of pending and running jobs in the shape of GET /prompt."""
        return {"exec_info": {"queue_remaining": self.remaining()}}

    async def listen(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one socket until it closes."""
        counts = await asyncio.to_thread(self.counts)
        socket = web.WebSocketResponse(heartbeat=30, max_msg_size=MAX_FLAGS_BYTES, compress=False)
        await socket.prepare(request)
        id = request.query.get("clientId", "")[:MAX_CLIENT_CHARS] or uuid.uuid4().hex
        client, old = Connection(id, socket), self.clients.get(id)
        self.clients[id] = client
        writer = asyncio.create_task(client.write())
        if old is not None:
            old.is_cut = True
            old.awake.set()
        self._send(id, "status", {"status": counts, "sid": id})
        if self.running is not None and self.running[0] == id:
            self._send(id, "executing", {"node": self.running[1], "display_node": self.running[1]})
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._negotiate(client, message.data)
        finally:
            # A new socket with the same id may have replaced it.
            if self.clients.get(id) is client:
                del self.clients[id]
            writer.cancel()
        return socket

    async def close(self) -> None:
        """Close every socket because the server stops."""
        for client in list(self.clients.values()):
            await client.socket.close(code=WSCloseCode.GOING_AWAY, message=b"server stopping")

    def _negotiate(self, client: Connection, text: str) -> None:
        """Read the first message as the client's feature flags and answer with the server's."""
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
            self._send(client.id, "feature_flags", self.flags)

    def _call(self, work: Callable[[], object]) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(work)

    def _send(self, id: str, type_name: str, data: Mapping[str, Any]) -> None:
        client = self.clients.get(id)
        if client is not None:
            key = (type_name, data.get("node")) if type_name in STALE else None
            client.put(json.dumps({"type": type_name, "data": data}), key)

    def _send_preview(self, id: str, preview: PreviewImage) -> None:
        client = self.clients.get(id)
        if client is not None:
            with_metadata = client.flags.get("supports_preview_metadata") is True
            client.put(preview.frame(with_metadata), ("preview", preview.ids.get("node_id")))
