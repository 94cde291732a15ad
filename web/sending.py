"""Responses on their way: a bound on the bytes that wait for their readers, and on the time.

A response stays in memory until its client has read it, and a client may never read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from .guard import HEADERS
from .routes import MAX_SILENT_S, answer

log = logging.getLogger(__name__)
MAX_UNSENT_BYTES = 2**30
MIN_LARGE_BYTES = 2**18
PIECE_BYTES = 2**16
Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Sender:
    """Sends the responses of one server.

    Attributes:
        max_unsent_bytes: limit of `unsent_bytes`; a single response may exceed it.
        max_silent_s: seconds after which a client that reads nothing is disconnected.
        unsent_bytes: the sizes of the large responses that are being sent.
    """

    def __init__(
        self, max_unsent_bytes: int = MAX_UNSENT_BYTES, max_silent_s: float = MAX_SILENT_S
    ) -> None:
        self.max_unsent_bytes, self.max_silent_s = max_unsent_bytes, max_silent_s
        self.unsent_bytes = 0

    @web.middleware
    async def middleware(self, request: web.Request, handler: Next) -> web.StreamResponse:
        """Send a response; instead of a large one 503 if too much waits for other clients."""
        response = await handler(request)
        if not isinstance(response, web.Response) or response.prepared:
            return response
        body = response.body
        try:
            if isinstance(body, bytes) and len(body) >= MIN_LARGE_BYTES and request.method == "GET":
                return await self._send_large(request, response, body)
            await self._in_time(_send_small(request, response))
        except TimeoutError:
            log.info("a client does not read its response; its connection is closed")
            if request.transport is not None:
                request.transport.abort()
        return response

    async def _send_large(
        self, request: web.Request, response: web.Response, body: bytes
    ) -> web.StreamResponse:
        if self.unsent_bytes and self.unsent_bytes + len(body) > self.max_unsent_bytes:
            busy = answer({"error": "too many large responses wait for their readers"}, 503)
            busy.headers.update({**HEADERS, "Retry-After": "5"})
            return busy
        sent = web.StreamResponse(status=response.status, headers=response.headers)
        if response.compression:
            sent.enable_compression()
        else:
            sent.content_length = len(body)
        view = memoryview(body)
        self.unsent_bytes += len(body)
        try:
            await sent.prepare(request)
            for start in range(0, len(body), PIECE_BYTES):
                await self._in_time(sent.write(view[start : start + PIECE_BYTES]))
            await self._in_time(sent.write_eof())
        finally:
            self.unsent_bytes -= len(body)
        return sent

    async def _in_time(self, sending: Awaitable[None]) -> None:
        async with asyncio.timeout(self.max_silent_s):
            await sending


async def _send_small(request: web.Request, response: web.Response) -> None:
    await response.prepare(request)
    await response.write_eof()
