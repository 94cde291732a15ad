"""The listening socket: how many connections there are and how long they may idle, and TLS.

aiohttp answers malformed HTTP before any middleware runs; those answers get the guard's headers.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from aiohttp import hdrs, web

from .guard import HEADERS
from .routes import answer

log = logging.getLogger(__name__)
MAX_CONNECTIONS = 512
MAX_IDLE_S = 30
MAX_LINE_BYTES = 8190
MAX_HEADERS = 128
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 5\r\n"
    b"Connection: close\r\n\r\n"
)


class _Anonymous(web.Response):
    """A response that does not name the server's software and version."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall(hdrs.SERVER, None)


class _Connection(web.RequestHandler):
    """A connection whose malformed requests are answered as all others: in JSON, guarded."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to a request that no handler has seen; the connection is closed."""
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the response is sent already")
        if status >= 500:
            log.error("a connection failed", exc_info=exc)
            text = "internal error; see the server's log"
        else:
            reason = (message or "").strip().partition("\n")[0][:200]
            text = f"expected a well-formed HTTP request: {reason}"
        body = answer({"error": text}).body
        response = _Anonymous(
            body=body, status=status, content_type="application/json", headers=HEADERS
        )
        response.force_close()
        return response

    def log_exception(self, *message: object, **options: Any) -> None:
        """Log what failed, but not that the rest of a refused body cannot be read."""
        if not isinstance(options.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*message, **options)


class _Handshake(asyncio.Protocol):
    """A connection that begins TLS. It counts from its first byte on.

    asyncio's own TLS tells nobody of a connection before its handshake has ended.
    """

    def __init__(self, door: _Door) -> None:
        self._door = door
        self._secured = _Secured()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, or close the connection if there are too many."""
        accepted = cast(asyncio.Transport, transport)
        if self._door.is_full():
            accepted.abort()
            return
        accepted.pause_reading()
        self._door.handshakes.add(self)
        self._task = asyncio.get_running_loop().create_task(self._secure(accepted))

    async def _secure(self, accepted: asyncio.Transport) -> None:
        door, secured = self._door, self._secured
        try:
            transport = await asyncio.get_running_loop().start_tls(
                accepted,
                secured,
                cast(ssl.SSLContext, door.tls),
                server_side=True,
                ssl_handshake_timeout=door.max_idle_s,
            )
            if transport is not None and not secured.is_lost:
                secured.hand_over(transport, door.connection())
        except OSError as error:
            log.debug("a TLS handshake failed: %s", error)
        finally:
            door.handshakes.discard(self)


class _Secured(asyncio.Protocol):
    """Holds what arrives between the end of a handshake and the start of its connection."""

    def __init__(self) -> None:
        self.is_lost = False
        self._data = bytearray()
        self._is_ended = False

    def data_received(self, data: bytes) -> None:
        """Hold data."""
        self._data += data

    def eof_received(self) -> None:
        """Hold the end of the data."""
        self._is_ended = True

    def connection_lost(self, _exc: Exception | None) -> None:
        """Note that the connection is closed."""
        self.is_lost = True

    def hand_over(self, transport: asyncio.Transport, connection: _Connection) -> None:
        """Start the connection, with what was held."""
        transport.set_protocol(connection)
        connection.connection_made(transport)
        if self._data:
            connection.data_received(bytes(self._data))
        if self._is_ended:
            connection.eof_received()


class _Busy(asyncio.Protocol):
    """A connection beyond the limit: it is answered with 503 and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer and close."""
        writing = cast(asyncio.WriteTransport, transport)
        writing.write(BUSY)
        writing.close()


@dataclass(frozen=True, kw_only=True)
class _Door:
    """Decides what a new connection becomes."""

    server: web.Server
    tls: ssl.SSLContext | None
    max_connections: int
    max_idle_s: float
    handshakes: set[_Handshake] = field(default_factory=set)

    def is_full(self) -> bool:
        """Return whether there are as many connections and handshakes as there may be."""
        return len(self.server.connections) + len(self.handshakes) >= self.max_connections

    def protocol(self) -> asyncio.Protocol:
        """Return what handles a new connection."""
        if self.tls is not None:
            return _Handshake(self)
        return _Busy() if self.is_full() else self.connection()

    def connection(self) -> _Connection:
        """Return the handler of HTTP on a connection."""
        return _Connection(
            self.server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=self.max_idle_s,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
        )


async def hide_software(request: web.Request, response: web.StreamResponse) -> None:
    """Remove the line that names the server's software and version."""
    response.headers.popall(hdrs.SERVER, None)


async def listen(
    server: web.Server,
    host: str,
    port: int,
    tls: ssl.SSLContext | None = None,
    max_connections: int = MAX_CONNECTIONS,
    max_idle_s: float = MAX_IDLE_S,
) -> asyncio.Server:
    """Accept connections for a server.

    Args:
        max_connections: connections at once, WebSockets and TLS handshakes included; further
            ones get 503, or are closed before the handshake.
        max_idle_s: time without a whole request header, from the start of a connection or the
            end of its last request, after which it is closed. TLS has as long to begin.

    Raises:
        OSError: the address is in use, or is none of this machine.
    """
    door = _Door(server=server, tls=tls, max_connections=max_connections, max_idle_s=max_idle_s)
    return await asyncio.get_running_loop().create_server(door.protocol, host, port)


def tls_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """Return the TLS settings for a certificate chain and its key, in PEM form.

    Args:
        key: None if the key is in the file of the certificate.

    Raises:
        OSError: a file cannot be read, is not PEM, the key is encrypted or belongs to another
            certificate.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # Without a password OpenSSL would ask for it on the terminal.
    context.load_cert_chain(certificate, key, password=lambda: "")
    return context
