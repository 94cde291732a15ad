"""Responses that nobody reads: the bytes and the time that they may take."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from latentloom.web.app import SENDER
from latentloom.web.guard import HEADERS
from tests.web.serving import Served, served

# More than the system's buffers of a connection hold.
SIZE = 32 * 2**20
VIEW = "/view?filename=large.bin"


async def ask_and_read_nothing(api: Served) -> socket.socket:
    """Ask for the large file on a connection that reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    port = int(api.url.rpartition(":")[2])
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, f"GET {VIEW} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return client


def large(api: Served) -> bytes:
    content = bytes(range(256)) * (SIZE // 256)
    (api.site.folders["output"] / "large.bin").write_bytes(content)
    return content


def test_large_responses_that_nobody_reads_are_bounded(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        large(api)
        api.app[SENDER].max_unsent_bytes = 2 * SIZE
        clients = [await ask_and_read_nothing(api) for _ in range(2)]
        while api.app[SENDER].unsent_bytes < 2 * SIZE:
            await asyncio.sleep(0.01)
        async with api.session.get(f"{api.url}{VIEW}") as response:
            assert response.status == 503
            assert response.headers["Retry-After"] == "5"
            assert HEADERS.items() <= dict(response.headers).items()
        assert api.app[SENDER].unsent_bytes == 2 * SIZE
        assert (await api.get("/prompt"))[0] == 200
        for client in clients:
            client.close()
        while api.app[SENDER].unsent_bytes:
            await asyncio.sleep(0.01)
        assert (await api.get(VIEW))[0] == 200

    served(tmp_path, story)


def test_a_client_that_reads_nothing_is_disconnected(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        large(api)
        api.app[SENDER].max_silent_s = 0.1
        client = await ask_and_read_nothing(api)
        while not api.app[SENDER].unsent_bytes:
            await asyncio.sleep(0.01)
        while api.app[SENDER].unsent_bytes:
            await asyncio.sleep(0.01)
        client.close()

    served(tmp_path, story)


def test_a_client_that_never_reads_many_small_answers_is_disconnected(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        api.app[SENDER].max_silent_s = 0.1
        port = int(api.url.rpartition(":")[2])
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", port))
        ask = b"GET /object_info HTTP/1.1\r\nHost: localhost\r\n\r\n"
        # The server stops reading requests while it cannot answer; then it closes.
        try:
            while True:
                await loop.sock_sendall(client, ask)
        except ConnectionError:
            client.close()

    served(tmp_path, story)


def test_one_large_response_is_sent_as_it_is_even_beyond_the_bound(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        content = large(api)
        api.app[SENDER].max_unsent_bytes = 1
        async with api.session.get(f"{api.url}{VIEW}") as response:
            assert response.headers["Content-Length"] == str(SIZE)
            assert response.headers["Content-Disposition"].startswith("attachment")
            assert await response.read() == content
        async with api.session.head(f"{api.url}{VIEW}") as response:
            assert response.headers["Content-Length"] == str(SIZE)
        async with api.session.get(f"{api.url}/object_info") as response:
            assert "KSampler" not in await response.json()

    served(tmp_path, story)
