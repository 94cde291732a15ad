"""Connections: their number, how long they may idle, malformed HTTP, TLS."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from latentloom.web.app import make_app
from latentloom.web.guard import HEADERS
from latentloom.web.listening import MAX_HEADERS, MAX_LINE_BYTES, listen
from latentloom.web.serving import ServeError, read_options
from latentloom.web.site import Options, Site
from tests.web.serving import FAKES
from tests.web.test_access import given

ASK = b"GET /prompt HTTP/1.1\r\nHost: localhost\r\n\r\n"


@asynccontextmanager
async def listening(data: Path, **options: Any) -> AsyncIterator[int]:
    """A server as `serve` starts it; yields its port."""
    tls = options.get("tls")
    runner = web.AppRunner(make_app(Site(Options(data, tls=tls), FAKES)), shutdown_timeout=1)
    await runner.setup()
    assert runner.server is not None
    listener = await listen(runner.server, "127.0.0.1", 0, **options)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await runner.cleanup()


def connected(data: Path, story: Callable[[int], Awaitable[None]], **options: Any) -> None:
    """Run a story on the port of a server."""

    async def run() -> None:
        async with listening(data, **options) as port:
            await asyncio.wait_for(story(port), 60)

    asyncio.run(run())


async def ask(port: int, request: bytes = ASK) -> bytes:
    """Return what the server sends until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    received = b""
    # The server may close while bytes that it does not read are on their way.
    with suppress(ConnectionError):
        while chunk := await reader.read(65_536):
            received += chunk
    await close(writer)
    return received


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection that the other side may have closed already."""
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@pytest.mark.parametrize(
    "begun", [b"", b"GET /prompt HT", b"GET /prompt HTTP/1.1\r\nHost: localhost\r\nX: y", ASK]
)
def test_a_connection_without_a_whole_request_is_closed(begun: bytes, tmp_path: Path) -> None:
    async def story(port: int) -> None:
        answer = await ask(port, begun)
        assert answer.startswith(b"HTTP/1.1 200") == (begun == ASK)

    connected(tmp_path, story, max_idle_s=0.2)


def test_bytes_that_trickle_in_do_not_prolong_a_header(tmp_path: Path) -> None:
    async def story(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n")
        end = asyncio.create_task(reader.read())
        with suppress(ConnectionError):
            # Of the last bytes, some may arrive after the connection is closed.
            while not end.done():
                writer.write(b"X: y\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        await asyncio.gather(end, return_exceptions=True)
        await close(writer)

    connected(tmp_path, story, max_idle_s=0.3)


def test_connections_beyond_the_limit_are_refused_until_one_closes(tmp_path: Path) -> None:
    async def story(port: int) -> None:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for reader, writer in held:
            writer.write(ASK)
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert (await ask(port)).startswith(b"HTTP/1.1 503")
        await close(held[0][1])
        request = ASK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        while not (await ask(port, request)).startswith(b"HTTP/1.1 200"):
            await asyncio.sleep(0)
        for _, writer in held:
            await close(writer)

    connected(tmp_path, story, max_connections=3)


def test_a_body_that_is_refused_and_cannot_be_decoded_is_not_an_error_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(port: int) -> None:
        headers = b"Host: localhost\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
        request = b"POST /prompt HTTP/1.1\r\n" + headers + b"Content-Length: 7\r\n\r\nno gzip"
        assert (await ask(port, request)).startswith(b"HTTP/1.1 415")

    connected(tmp_path, story)
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /" + b"x" * 2 * MAX_LINE_BYTES + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 2 * MAX_LINE_BYTES + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 2 * MAX_HEADERS + b"\r\n",
    ],
    ids=range(10),
)  # fmt: skip
def test_malformed_http_is_answered_with_the_headers_of_the_guard(
    request_bytes: bytes, tmp_path: Path
) -> None:
    async def story(port: int) -> None:
        head, _, body = (await ask(port, request_bytes)).partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        assert status.split()[1] == "400"
        assert HEADERS.items() <= headers.items()
        assert "Server" not in headers
        assert "well-formed" in json.loads(body)["error"]

    connected(tmp_path, story)


def test_no_answer_names_the_server_s_software(tmp_path: Path) -> None:
    async def story(port: int) -> None:
        async with ClientSession() as session:
            for path in ("/prompt", "/", "/nothing", "/view", "/ws"):
                async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                    assert "Server" not in response.headers

    connected(tmp_path, story)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-out", str(cert), "-keyout", str(key)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return cert, key


def test_a_certificate_makes_the_server_speak_https(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, key = certificate
    tls = read_options(given("--tls-cert", str(cert), "--tls-key", str(key))).tls

    async def story(port: int) -> None:
        trust = ssl.create_default_context(cafile=str(cert))
        url = f"https://127.0.0.1:{port}/prompt"
        async with ClientSession() as session, session.get(url, ssl=trust) as response:
            assert response.status == 200
        assert not (await ask(port)).startswith(b"HTTP/1.1 200")

    connected(tmp_path / "data", story, tls=tls)


def test_a_handshake_counts_as_a_connection_until_it_has_failed(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, key = certificate
    tls = read_options(given("--tls-cert", str(cert), "--tls-key", str(key))).tls
    trust = ssl.create_default_context(cafile=str(cert))

    async def https(port: int) -> bytes:
        """Return the answer over TLS; nothing if the connection was closed before it."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust)
        except ConnectionError:
            return b""
        writer.write(ASK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        received = await reader.read()
        await close(writer)
        return received

    async def story(port: int) -> None:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        assert (await https(port)).startswith(b"HTTP/1.1 200")
        silent.append(await asyncio.open_connection("127.0.0.1", port))
        while await https(port):
            pass  # the connection that has ended is still being closed
        silent[0][1].write(b"hello, no handshake")
        await silent[0][0].read()
        while not await https(port):
            await asyncio.sleep(0)
        for _, writer in silent:
            await close(writer)

    connected(tmp_path / "data", story, tls=tls, max_connections=3)


def test_a_handshake_that_does_not_end_is_closed(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, key = certificate
    tls = read_options(given("--tls-cert", str(cert), "--tls-key", str(key))).tls

    async def story(port: int) -> None:
        assert await ask(port, b"\x16\x03\x01") == b""

    connected(tmp_path / "data", story, tls=tls, max_idle_s=0.2)


def test_the_key_may_be_in_the_file_of_the_certificate(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.write_text("".join(path.read_text() for path in certificate))
    assert read_options(given("--tls-cert", str(both))).tls is not None


def test_a_key_with_a_password_or_of_another_certificate_is_refused(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    cert, key = certificate
    locked = tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "rsa", "-aes128", "-passout", "pass:secret", "-in", str(key),
         "-out", str(locked)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    for wrong in (locked, cert):
        with pytest.raises(ServeError, match="without a password"):
            read_options(given("--tls-cert", str(cert), "--tls-key", str(wrong)))
