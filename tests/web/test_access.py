"""Who may ask what: every route against every way to ask, generated from the routes themselves."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from latentloom.web.app import GUARD, all_routes, paths_of
from latentloom.web.guard import COOKIE, is_loopback
from latentloom.web.routes import Route
from latentloom.web.serving import ServeError, add_options, read_options
from tests.web.serving import Served, number, prompt, served, serving

TOKEN = "a token that is long enough"
ROUTES = all_routes()
NAMES = [f"{route.method} {route.path}" for route in ROUTES]
CHANGING = [route for route in ROUTES if route.method not in ("GET", "HEAD")]
FILLED = {
    "prompt_id": "x", "node": "Show", "kind": "input", "id": "x", "file": "x.json",
    "dest": "y.json", "folder": "checkpoints", "index": "0", "name": "index.json",
}  # fmt: skip
READ_ONLY_ANSWERS = {200, 303, 400, 404, 426}


def path_of(route: Route, path: str = "") -> str:
    result = path or route.path
    for name, value in FILLED.items():
        result = result.replace(f"{{{name}}}", value).replace(f"{{{name}:.+}}", value)
    assert "{" not in result, f"{route.path}: say what its parts are filled with"
    return result


def ask_every(
    data: Path, headers: Mapping[str, str], routes: list[Route] = ROUTES, token: str = TOKEN
) -> dict[str, int]:
    """The status of each route, bare and under /api."""
    result: dict[str, int] = {}

    async def story(api: Served) -> None:
        async with aiohttp.ClientSession() as session:
            for route in routes:
                for path in paths_of(route):
                    options: dict[str, Any] = {"headers": headers, "allow_redirects": False}
                    url = f"{api.url}{path_of(route, path)}"
                    async with session.request(route.method, url, **options) as response:
                        result[f"{route.method} {path}"] = response.status

    served(data, story, token=token)
    return result


def test_every_route_of_the_router_is_in_the_table(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        known = {(route.method, path) for route in ROUTES for path in paths_of(route)}
        result = {
            (route.method, route.resource.canonical if route.resource else "")
            for route in api.app.router.routes()
            if route.method != "HEAD"
        }
        assert {(method, path.replace(":.+", "")) for method, path in known} == {
            (method, path.replace(":.+", "")) for method, path in result
        }

    served(tmp_path, story)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": TOKEN}, 401),
        ({"Cookie": f"{COOKIE}=guess"}, 401),
        ({"Cookie": f"{COOKIE}={TOKEN}"}, 401),
        ({"Authorization": f"Bearer {TOKEN}", "Origin": "null"}, 403),
        ({"Authorization": f"Bearer {TOKEN}", "Origin": "http://evil.test"}, 403),
        ({"Authorization": f"Bearer {TOKEN}", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Authorization": f"Bearer {TOKEN}", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Authorization": f"Bearer {TOKEN}", "Host": "evil.test"}, 403),
    ],
)
def test_no_route_answers_who_may_not_ask(
    headers: Mapping[str, str], status: int, tmp_path: Path
) -> None:
    result = ask_every(tmp_path, headers)
    assert {name: item for name, item in result.items() if item != status} == {}


def test_every_route_answers_the_token_and_none_fails_on_an_empty_request(tmp_path: Path) -> None:
    result = ask_every(tmp_path, {"Authorization": f"Bearer {TOKEN}"})
    assert {name: status for name, status in result.items() if status in (401, 403, 500)} == {}
    assert len(result) > 100


def test_without_a_token_this_machine_may_ask_and_pages_of_others_may_not(tmp_path: Path) -> None:
    own = ask_every(tmp_path, {}, token="")
    assert {name for name, status in own.items() if status in (401, 403, 500)} == set()
    theirs = ask_every(tmp_path, {"Origin": "http://evil.test"}, token="")
    assert set(theirs.values()) == {403}


@pytest.mark.parametrize(
    "host",
    [
        "evil.test", "evil.test:8188", "127.0.0.1.nip.io", "localhost.", "127.0.0.1.", "",
        "a@127.0.0.1", "[::2]", "0.0.0.0", "192.168.1.5", "localhost:abc", "127.0.0.1/x",
        "evil.test@localhost",
    ],
)  # fmt: skip
def test_the_server_is_not_asked_by_another_name(host: str, tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        assert (await api.get("/queue", headers={"Host": host}))[0] in (400, 403)

    served(tmp_path, story)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST:1", "my.box"])
def test_the_server_is_asked_by_its_own_names(host: str, tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        assert (await api.get("/queue", headers={"Host": host}))[0] == 200

    served(tmp_path, story, hosts=("my.box",))


@pytest.mark.parametrize(
    ("host", "status"),
    [("192.168.1.5:8188", 200), ("[fe80::1]", 200), ("localhost", 200), ("evil.test", 403),
     ("192.168.1.5.nip.io", 403), ("box.local", 200)],
)  # fmt: skip
def test_a_server_for_other_machines_is_asked_by_address_or_by_a_name_it_was_given(
    host: str, status: int, tmp_path: Path
) -> None:
    async def story(api: Served) -> None:
        assert (await api.get("/queue", headers={"Host": host}))[0] == status

    served(tmp_path, story, token=TOKEN, host="0.0.0.0", hosts=("box.local",))


def raw(url: str, text: str) -> str:
    """The status line that the server gives to a request written by hand."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=5)
    connection.connect()
    assert connection.sock is not None
    connection.sock.sendall(text.encode())
    line = connection.sock.recv(4096).decode("latin-1").splitlines()[0]
    connection.close()
    return line


@pytest.mark.parametrize(
    "text",
    [
        "GET /queue HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n\r\n",
        "GET /queue HTTP/1.1\r\n\r\n",
        "GET http://evil.test/queue HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /queue HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nOrigin: x\r\n\r\n",
    ],
)
def test_a_request_with_two_answers_to_who_is_asked_is_refused(text: str, tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        line = await asyncio.to_thread(raw, api.url, text)
        assert " 40" in line

    served(tmp_path, story)


@pytest.mark.parametrize(
    ("headers", "opens"),
    [
        ({}, True),
        ({"Origin": "same"}, True),
        ({"Origin": "null"}, False),
        ({"Origin": "http://evil.test"}, False),
        ({"Origin": "https://127.0.0.1:1"}, False),
        ({"Host": "evil.test"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
    ],
)
def test_the_socket_opens_for_its_own_origin_only(
    headers: dict[str, str], opens: bool, tmp_path: Path
) -> None:
    async def story(api: Served) -> None:
        if headers.get("Origin") == "same":
            headers["Origin"] = api.url
        status = 101
        try:
            async with api.session.ws_connect(f"{api.url}/ws", headers=headers):
                pass
        except aiohttp.WSServerHandshakeError as error:
            status = error.status
        assert status == (101 if opens else 403)

    served(tmp_path, story)


def test_the_socket_asks_for_the_token(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(f"{api.url}/ws")
        assert refused.value.status == 401

    served(tmp_path, story, token=TOKEN)


def test_an_invitation_opens_one_session_that_a_page_of_the_server_can_use(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        invitation = api.app[GUARD].invitation_path
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as browser:
            async with browser.get(f"{api.url}{invitation}", allow_redirects=False) as response:
                assert response.status == 303
                cookie = response.headers["Set-Cookie"]
                assert "HttpOnly" in cookie
                assert "SameSite=Strict" in cookie
                assert TOKEN not in cookie
            async with browser.get(f"{api.url}/queue") as response:
                assert response.status == 200
            for headers, status in (({}, 403), ({"Origin": api.url}, 200)):
                url = f"{api.url}/queue"
                async with browser.post(url, json={}, headers=headers) as response:
                    assert response.status == status
        async with aiohttp.ClientSession() as other, other.get(f"{api.url}{invitation}") as again:
            assert again.status == 401

    served(tmp_path, story, token=TOKEN)


@pytest.mark.parametrize("route", CHANGING, ids=lambda route: f"{route.method} {route.path}")
def test_a_page_cannot_send_a_form_where_json_is_wanted(route: Route, tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        headers = {"Content-Type": "text/plain", "Origin": api.url}
        url = path_of(route)
        status, _ = await api.ask(route.method, url, data=b'{"clear": true}', headers=headers)
        assert (status == 415) == (route.body == "json")
        # Clients other than browsers may send what they like; Node's fetch names its mode.
        for mode in ({}, {"Sec-Fetch-Mode": "cors"}):
            plain = {"Content-Type": "text/plain", **mode}
            status, _ = await api.ask(route.method, url, data=b"{}", headers=plain)
            assert status not in (415, 500)

    served(tmp_path, story)


@pytest.mark.parametrize("token", ["", TOKEN])
def test_an_origin_or_host_without_port_is_told_what_to_do(token: str, tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        port = api.url.rpartition(":")[2]
        for host, origin in (
            ("127.0.0.1", "http://127.0.0.1:8080"),
            (f"127.0.0.1:{port}", "http://127.0.0.1"),
        ):
            headers = {"Host": host, "Origin": origin}
            status, body = await api.post("/prompt", {"prompt": {}}, headers=headers)
            assert status == 403
            assert "--allow-origin" in body["error"]

    served(tmp_path, story, token=token)


def test_an_invitation_stays_in_the_path_that_a_proxy_serves_it_under(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        url = f"{api.url}{api.app[GUARD].invitation_path}"
        async with (
            aiohttp.ClientSession() as browser,
            browser.get(url, allow_redirects=False) as response,
        ):
            assert (response.status, response.headers["Location"]) == (303, "./")

    served(tmp_path, story, token=TOKEN)


def test_no_other_origin_is_allowed_unless_it_was_named(tmp_path: Path) -> None:
    async def ask(origins: tuple[str, ...], token: str = "") -> aiohttp.ClientResponse:
        async with serving(tmp_path, origins=origins, token=token) as api:
            api.session.headers.clear()
            headers = {"Origin": "http://friend.test", "Access-Control-Request-Method": "POST"}
            async with api.session.options(f"{api.url}/prompt", headers=headers) as response:
                return response

    allowed = asyncio.run(ask(("http://friend.test",), TOKEN))
    assert allowed.status == 200
    assert allowed.headers["Access-Control-Allow-Headers"] == "Content-Type, Authorization"
    refused = asyncio.run(ask(()))
    assert refused.status == 403
    assert "Access-Control-Allow-Origin" not in refused.headers
    allowed = asyncio.run(ask(("http://friend.test",)))
    assert allowed.status == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == "http://friend.test"


def given(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "my.box"])
def test_another_address_needs_a_token(host: str, tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="--token-file"):
        read_options(given("--host", host))
    secret = tmp_path / "token"
    secret.write_text(f"{TOKEN}\n")
    assert read_options(given("--host", host, "--token-file", str(secret))).token == TOKEN
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "arguments",
    [("--token", "short"), ("--token", " " * 20), ("--token", f"{TOKEN}\x01"),
     ("--tls-key", "key.pem"), ("--tls-cert", "/nonexistent"), ("--tls-cert", __file__),
     ("--token-file", "/nonexistent"), ("--port", "70000"),
     ("--token", TOKEN, "--allow-origin", "*")],
)  # fmt: skip
def test_a_wrong_option_is_refused_before_anything_is_opened(arguments: tuple[str, ...]) -> None:
    with pytest.raises(ServeError):
        read_options(given(*arguments))


@pytest.mark.parametrize(
    ("asked", "method"), [((), "auto"), (("taesd",), "taesd"), (("none",), None)]
)
def test_how_previews_are_made_is_an_option(asked: tuple[str, ...], method: str | None) -> None:
    arguments = [part for item in asked for part in ("--preview-method", item)]
    assert read_options(given(*arguments)).previews == method


@pytest.mark.torch
def test_neither_token_nor_places_leak(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        await api.client.run(number(3))
        texts = []
        for path in ("/history", "/system_stats", "/internal/logs", "/object_info",
                     "/internal/folder_paths", "/openapi.json", "/settings"):  # fmt: skip
            async with api.session.get(f"{api.url}{path}") as response:
                texts.append(await response.text())
        load = prompt(l=("LoadImage", {"image": "gone.png"}), s=("SaveImage", {"images": ["l", 0]}))
        for path in ("/prompt", "/latentloom/plan"):
            _, result = await api.post(path, {"prompt": load})
            assert "gone.png" in json.dumps(result)
            texts.append(json.dumps(result))
        # A folder stands where the output's folder should be made.
        (tmp_path / "output" / "taken").write_text("a file")
        empty = ("EmptyImage", {"width": 16, "height": 16, "batch_size": 1, "color": 7})
        save = ("SaveImage", {"images": ["e", 0], "filename_prefix": "taken/x"})
        outcome = await api.client.run(prompt(e=empty, s=save))
        assert "taken" in outcome.error
        texts.append(json.dumps(await api.get("/history")))
        for word in (TOKEN, str(tmp_path), str(Path.home())):
            assert not any(word in text for text in texts if len(word) > 1)

    served(tmp_path, story, token=TOKEN)
