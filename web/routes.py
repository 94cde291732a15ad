"""What a route is, and what all of them share: reading a body, answering with JSON.

Routes are declared where they are written. `web.app` gathers them, and puts them under the key
`ROUTES` for the API description; the access rules and the tests see every one of them.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from aiohttp import web

from latentloom.engine.errors import FormatError
from latentloom.engine.formats.parsing import MAX_BYTES, parse_json

if TYPE_CHECKING:
    from .site import Site

Handler = Callable[["Site", web.Request], Awaitable[web.StreamResponse]]
MAX_SILENT_S = 30
LONG = 100_000
_NUMBER = re.compile(r"-?[0-9]{1,12}\Z")
Body = Literal["none", "json", "raw", "form"]


@dataclass(frozen=True)
class Route:
    """One route. `body` is what it reads; `alias` says whether it is under /api too."""

    method: str
    path: str
    handler: Handler
    summary: str
    body: Body = "none"
    alias: bool = True


ROUTES: web.AppKey[Sequence[Route]] = web.AppKey("ROUTES")
"""Every route of an application, for the pages that list them."""


class Routes:
    """The routes of one file."""

    def __init__(self) -> None:
        self._found: list[Route] = []

    def __iter__(self) -> Iterator[Route]:
        return iter(self._found)

    def add(
        self, method: str, path: str, summary: str, body: Body = "none", alias: bool = True
    ) -> Callable[[Handler], Handler]:
        """Declare the function below as a route."""

        def declare(handler: Handler) -> Handler:
            self._found.append(Route(method, path, handler, summary, body, alias))
            return handler

        return declare


class RequestError(Exception):
    """A request that is answered with an error: a status and a sentence."""

    def __init__(self, status: int, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.status, self.body = status, {"error": message, **facts}


def answer(value: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return web.Response(text=text, status=status, content_type="application/json")


def done(status: int = 200) -> web.Response:
    """An empty answer."""
    return web.Response(status=status)


async def read_text(request: web.Request, max_bytes: int = MAX_BYTES) -> str:
    """The body as text.

    Raises:
        RequestError: it is too large, or no UTF-8.
    """
    data = await read_bytes(request, max_bytes)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(400, f"the body is no text in UTF-8: {error.reason}") from error


async def read_bytes(request: web.Request, max_bytes: int) -> bytes:
    """The body, read no further than its bound.

    Raises:
        RequestError: it is too large.
    """
    if (request.content_length or 0) > max_bytes:
        raise RequestError(413, f"the body has {request.content_length} bytes; at most {max_bytes}")
    found = bytearray()
    while chunk := await patiently(request.content.read(65_536)):
        found += chunk
        if len(found) > max_bytes:
            raise RequestError(413, f"the body has more than {max_bytes} bytes")
    return bytes(found)


async def patiently(reading: Awaitable[bytes]) -> bytes:
    """The next piece of a body.

    Raises:
        RequestError: it does not come.
    """
    try:
        async with asyncio.timeout(MAX_SILENT_S):
            return await reading
    except TimeoutError as error:
        raise RequestError(408, f"nothing came for {MAX_SILENT_S} s") from error


async def read_json(request: web.Request, empty: Any = None) -> Any:
    """The body as JSON; `empty` where there is none.

    Raises:
        RequestError: it is too large, or not JSON; the message says where.
    """
    text = await read_text(request)
    if not text.strip():
        return empty
    try:
        # A long text takes a while; the loop goes on meanwhile.
        return await asyncio.to_thread(parse_json, text) if len(text) > LONG else parse_json(text)
    except FormatError as error:
        raise RequestError(400, str(error)) from error


async def read_object(request: web.Request) -> Mapping[str, Any]:
    """The body as a JSON object; an empty body is an empty one.

    Raises:
        RequestError: it is none.
    """
    found = await read_json(request, {})
    if not isinstance(found, Mapping):
        raise RequestError(400, "the body is no JSON object")
    return found


def whole_number(request: web.Request, name: str, low: int = 0, high: int = 10**9) -> int | None:
    """A number of the query, None if it is not given.

    Raises:
        RequestError: it is no whole number from `low` to `high`.
    """
    text = request.query.get(name, "")
    if not text:
        return None
    number = int(text) if _NUMBER.match(text) else None
    if number is None or not low <= number <= high:
        raise RequestError(
            400, f"{name}: expected a whole number from {low} to {high}, got {text[:40]!r}"
        )
    return number


def texts(value: Any, name: str) -> list[str]:
    """A list of texts in a body.

    Raises:
        RequestError: it is none.
    """
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RequestError(400, f"{name} wants a list of texts")
    return value
