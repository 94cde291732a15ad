"""Routes, and what their handlers share: reading a body, answering with JSON.

Routes are declared where they are written. `web.app` gathers them, and puts them under the key
`ROUTES` for the API description; the access rules and the tests see every one of them.
"""

from __future__ import annotations

import asyncio
import errno
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from aiohttp import web

from latentloom.engine.errors import FormatError
from latentloom.engine.formats.parsing import MAX_BYTES, Numbers, parse_json

from .pools import Pools

if TYPE_CHECKING:
    from .site import Site

Handler = Callable[["Site", web.Request], Awaitable[web.StreamResponse]]
MAX_SILENT_S = 30
MAX_INLINE_CHARS = 100_000
MAX_IDS = 10_000
_NUMBER = re.compile(r"-?[0-9]{1,12}\Z")
Body = Literal["none", "json", "raw", "form"]
T = TypeVar("T")
# What the operating system refuses, and the status of the answer.
STORAGE_STATUS = {
    errno.ENOENT: 404,
    errno.ENOTDIR: 404,
    errno.ENOSPC: 507,
    errno.EDQUOT: 507,
    errno.EFBIG: 507,
    errno.EMFILE: 503,
    errno.ENFILE: 503,
    errno.ENOMEM: 503,
    errno.EIO: 500,
}


@dataclass(frozen=True)
class Route:
    """One route. `body` is the kind of body it reads; with `alias` it is under /api too."""

    method: str
    path: str
    handler: Handler
    summary: str
    body: Body = "none"
    alias: bool = True


POOLS: web.AppKey[Pools] = web.AppKey("POOLS")
"""Threads for the work of requests."""
ROUTES: web.AppKey[Sequence[Route]] = web.AppKey("ROUTES")
"""Every route of an application, for the pages that list them."""


class Routes:
    """The routes that one module declares."""

    def __init__(self) -> None:
        self._routes: list[Route] = []

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def add(
        self, method: str, path: str, summary: str, body: Body = "none", alias: bool = True
    ) -> Callable[[Handler], Handler]:
        """Declare the function below as a route."""

        def declare(handler: Handler) -> Handler:
            self._routes.append(Route(method, path, handler, summary, body, alias))
            return handler

        return declare


class RequestError(Exception):
    """A request that is answered with an error.

    Args:
        status: the HTTP status.
        message: one sentence for the client.
        details: further fields of the answer.
    """

    def __init__(self, status: int, message: str, **details: Any) -> None:
        super().__init__(message)
        self.status, self.body = status, {"error": message, **details}


def storage_error(error: OSError, subject: str) -> RequestError:
    """Return the answer to a request whose file cannot be read or written.

    A full disk is 507, a missing file 404, too many open files 503, and a name that the file system
    refuses 400.
    """
    reason = error.strerror or type(error).__name__
    return RequestError(STORAGE_STATUS.get(error.errno or 0, 400), f"{subject}: {reason}")


def answer(value: Any, status: int = 200) -> web.Response:
    """Return a JSON response."""
    return answer_json(_to_json(value), status)


def answer_json(body: bytes, status: int = 200) -> web.Response:
    """Return a response of JSON that is written already."""
    return web.Response(body=body, status=status, content_type="application/json")


def json_array(values: Iterable[Any]) -> bytes:
    """Return the JSON of a long array, written value by value so that other threads run."""
    return b"[%b]" % b",".join(_to_json(value) for value in values)


def json_object(entries: Iterable[tuple[str, Any]]) -> bytes:
    """Return the JSON of a large object, written entry by entry so that other threads run."""
    members = (b"%b:%b" % (_to_json(key), _to_json(value)) for key, value in entries)
    return b"{%b}" % b",".join(members)


def _to_json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        # A name or metadata with a lone surrogate, which JSON can only hold as an escape.
        return json.dumps(value, separators=(",", ":")).encode("ascii")


def done(status: int = 200) -> web.Response:
    """Return an empty response."""
    return web.Response(status=status)


async def read_text(request: web.Request, max_bytes: int = MAX_BYTES) -> str:
    """Return the body as a string.

    Raises:
        RequestError: the body is too large or is not UTF-8.
    """
    data = await read_bytes(request, max_bytes)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(400, f"the body is not UTF-8 text: {error.reason}") from error


async def read_bytes(request: web.Request, max_bytes: int) -> bytes:
    """Read the body, at most `max_bytes` of it.

    Raises:
        RequestError: the body is larger.
    """
    refuse_encoding(request)
    if (request.content_length or 0) > max_bytes:
        raise RequestError(413, f"the body is larger than {max_bytes} bytes")
    body = bytearray()
    while chunk := await read_in_time(request.content.read(65_536)):
        body += chunk
        if len(body) > max_bytes:
            raise RequestError(413, f"the body is larger than {max_bytes} bytes")
    return bytes(body)


def refuse_encoding(request: web.Request) -> None:
    """Refuse a compressed body.

    Raises:
        RequestError: the body has a Content-Encoding.
    """
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        text = f"Content-Encoding: expected a body as it is, got {encoding[:40]!r}"
        raise RequestError(415, text)


async def read_in_time(reading: Awaitable[T]) -> T:
    """Return the next chunk or part of a body.

    Raises:
        RequestError: nothing arrived for MAX_SILENT_S seconds.
    """
    try:
        async with asyncio.timeout(MAX_SILENT_S):
            return await reading
    except TimeoutError as error:
        raise RequestError(408, f"no data arrived for {MAX_SILENT_S} s") from error


async def read_json(request: web.Request, empty: Any = None, numbers: Numbers = "finite") -> Any:
    """Return the body as JSON, or `empty` if there is no body.

    Args:
        numbers: as in `parse_json`; "inputs" for bodies that hold a prompt.

    Raises:
        RequestError: the body is too large or is not JSON; the message says where.
    """
    try:
        if (request.content_length or MAX_BYTES) <= MAX_INLINE_CHARS:
            text = await read_text(request, MAX_INLINE_CHARS)
            return parse_json(text, numbers) if text.strip() else empty
        # Parsing a long body takes a while; the event loop must not wait for it.
        pools = request.app[POOLS]
        async with pools.large_bodies:
            text = await read_text(request)
            return await pools.graphs.run(parse_json, text, numbers) if text.strip() else empty
    except FormatError as error:
        raise RequestError(400, str(error)) from error


async def read_object(request: web.Request, numbers: Numbers = "finite") -> Mapping[str, Any]:
    """Return the body as a JSON object; an empty body is an empty object.

    Raises:
        RequestError: the body is not a JSON object.
    """
    body = await read_json(request, {}, numbers)
    if not isinstance(body, Mapping):
        raise RequestError(400, "the body must be a JSON object")
    return body


def query_int(request: web.Request, name: str, low: int = 0, high: int = 10**9) -> int | None:
    """Return an integer of the query string, None if it is absent.

    Raises:
        RequestError: it is not an integer from `low` to `high`.
    """
    text = request.query.get(name, "")
    if not text:
        return None
    number = int(text) if _NUMBER.match(text) else None
    if number is None or not low <= number <= high:
        raise RequestError(
            400, f"{name}: expected an integer from {low} to {high}, got {text[:40]!r}"
        )
    return number


def string_list(value: Any, name: str) -> list[str]:
    """Return a field of a body as a list of strings.

    Raises:
        RequestError: it is something else, or longer than MAX_IDS.
    """
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RequestError(400, f"{name}: expected a list of strings")
    if len(value) > MAX_IDS:
        raise RequestError(400, f"{name}: expected at most {MAX_IDS} strings, got {len(value)}")
    return value
