"""A client for this server or ComfyUI: submit, follow, cancel, fetch.

async with Client("http://127.0.0.1:8188") as client:
    job = await client.submit(prompt)
    async for event in client.follow(job):
        print(event.type, event.data)
    outcome = await client.outcome(job)
    images = [await client.fetch(file) for file in outcome.files]
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

import aiohttp

ENDED = "executing"
MAX_MESSAGE_BYTES = 64 * 2**20


class RejectedError(Exception):
    """The server rejected a request.

    Attributes:
        status: the HTTP status.
        body: the answer; for a prompt, `error` and `node_errors`.
    """

    def __init__(self, status: int, body: Any) -> None:
        error = body.get("error") if isinstance(body, Mapping) else body
        text = error.get("message") if isinstance(error, Mapping) else error
        super().__init__(f"{status}: {text}")
        self.status, self.body = status, body


@dataclass(frozen=True)
class Event:
    """A message from the server; `image` holds the bytes of a binary frame."""

    type: str
    data: Mapping[str, Any]
    image: bytes = b""


@dataclass(frozen=True)
class SavedFile:
    """A file that a job saved."""

    filename: str
    subfolder: str
    type: str


@dataclass(frozen=True)
class Outcome:
    """The end of a job.

    Attributes:
        status: "success" or "error".
        files: the files that its output nodes saved.
        events: its messages in the history.
        texts: the strings that its output nodes show.
    """

    status: str
    files: tuple[SavedFile, ...]
    events: tuple[Event, ...]
    texts: tuple[str, ...] = ()

    @property
    def error(self) -> str:
        """The message of the error that ended it, empty if there was none."""
        errors = [event.data for event in self.events if event.type == "execution_error"]
        return str(errors[0].get("exception_message", "")) if errors else ""


class Client:
    """A connection to a server; use it in an `async with`.

    Args:
        url: the server's address.
        token: the server's access token, if it has one.
        id: the client's id; the server sends messages about its jobs to it.
    """

    def __init__(self, url: str, token: str = "", id: str = "") -> None:
        self.url, self.id = url.rstrip("/"), id or str(uuid.uuid4())
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers)
        try:
            await self._connect()
        except BaseException:
            await self._session.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._socket is not None:
            await self._socket.close()
        await self._session.close()

    async def submit(
        self,
        prompt: Mapping[str, Any],
        *,
        front: bool = False,
        targets: list[str] | None = None,
        id: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """Queue a graph in API format and return the job's id.

        Raises:
            RejectedError: the graph cannot run.
        """
        body: dict[str, Any] = {"prompt": prompt, "client_id": self.id}
        given = {
            "front": front or None, "partial_execution_targets": targets,
            "prompt_id": id, "extra_data": extra,
        }  # fmt: skip
        body |= {key: value for key, value in given.items() if value is not None}
        return str((await self.call("POST", "/prompt", body))["prompt_id"])

    async def follow(self, job: str) -> AsyncIterator[Event]:
        """Yield the messages about a job until it has ended."""
        assert self._socket is not None
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                yield Event("preview", {}, message.data)
                continue
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            content = json.loads(message.data)
            event = Event(content["type"], content["data"])
            if event.data.get("prompt_id", job) != job:
                continue
            yield event
            if event.type == ENDED and event.data["node"] is None:
                return

    async def run(self, prompt: Mapping[str, Any]) -> Outcome:
        """Submit a graph, wait for the job to end, and return its outcome."""
        job = await self.submit(prompt)
        async for _ in self.follow(job):
            pass
        outcome = await self.outcome(job)
        assert outcome is not None
        return outcome

    async def outcome(self, job: str) -> Outcome | None:
        """Return how a job ended, None before it has."""
        entry = (await self.call("GET", f"/history/{quote(job, safe='')}")).get(job)
        if entry is None:
            return None
        files = tuple(
            SavedFile(item["filename"], item["subfolder"], item["type"])
            for output in entry["outputs"].values()
            for items in output.values()
            for item in items
            if isinstance(item, dict) and "filename" in item
        )
        texts = tuple(
            text for output in entry["outputs"].values() for text in output.get("text", ())
        )
        events = tuple(Event(type, data) for type, data in entry["status"]["messages"])
        return Outcome(entry["status"]["status_str"], files, events, texts)

    async def cancel(self, job: str) -> bool:
        """Cancel a pending or running job; return False if it has ended."""
        return bool(
            (await self.call("POST", f"/api/jobs/{quote(job, safe='')}/cancel"))["cancelled"]
        )

    async def fetch(self, file: SavedFile) -> bytes:
        """Return the content of a file that a job saved.

        Raises:
            RejectedError: the file no longer exists.
        """
        query = {"filename": file.filename, "subfolder": file.subfolder, "type": file.type}
        async with self._session.get(f"{self.url}/view", params=query) as response:
            if response.status != 200:
                raise RejectedError(response.status, await response.text())
            return await response.read()

    async def upload(self, name: str, data: bytes, **fields: str) -> str:
        """Upload an image into the input folder and return the name that LoadImage takes.

        Raises:
            RejectedError: the data is not a supported image.
        """
        form = aiohttp.FormData(fields)
        form.add_field("image", data, filename=name)
        async with self._session.post(f"{self.url}/upload/image", data=form) as response:
            body = await _body(response)
            if response.status != 200:
                raise RejectedError(response.status, body)
            return "/".join(part for part in (body["subfolder"], body["name"]) if part)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request to any route and return its JSON answer.

        Raises:
            RejectedError: the server rejected it.
        """
        async with self._session.request(method, f"{self.url}{path}", json=body) as response:
            answer = await _body(response)
            if response.status >= 400:
                raise RejectedError(response.status, answer)
            return answer

    async def _connect(self) -> None:
        query = {"clientId": self.id}
        self._socket = await self._session.ws_connect(
            f"{self.url}/ws", params=query, max_msg_size=MAX_MESSAGE_BYTES
        )
        flags = {"supports_preview_metadata": True}
        await self._socket.send_json({"type": "feature_flags", "data": flags})


async def _body(response: aiohttp.ClientResponse) -> Any:
    text = await response.text()
    return json.loads(text) if response.content_type == "application/json" else text
