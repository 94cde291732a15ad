"""The listening socket: how many connections there are and how long they may idle, and TLS.

aiohttp answers malformed HTTP before any middleware runs; those answers get the guard's headers.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import cast

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


class _Busy(asyncio.Protocol):
    """A connection beyond the limit: it is answered with 503 and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer and close."""
        writing = cast(asyncio.WriteTransport, transport)
        writing.write(BUSY)
        writing.close()


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
        max_connections: connections at once, WebSockets included; further ones get 503.
        max_idle_s: time without a whole request header, from the start of a connection or the
            end of its last request, after which it is closed. TLS has as long to begin.

    Raises:
        OSError: the address is in use, or is none of this machine.
    """
    loop = asyncio.get_running_loop()

    def connect() -> asyncio.Protocol:
        if len(server.connections) >= max_connections:
            return _Busy()
        return _Connection(
            server,
            loop=loop,
            keepalive_timeout=max_idle_s,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
        )

    return await loop.create_server(
        connect, host, port, ssl=tls, ssl_handshake_timeout=max_idle_s if tls else None
    )


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
