"""The state that all routes share: options, folders, engine, queue, sockets."""

from __future__ import annotations

import asyncio
import itertools
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentloom.engine.cache.generation import open_store
from latentloom.engine.errors import LatentloomError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.image_formats import is_image_name
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.graph.library import graphs_dir
from latentloom.engine.jobs.store import JobStore
from latentloom.engine.node.image_service import EncodedImage, PreviewMethod, image_service
from latentloom.engine.node.registry import Registry

from .logs import LogTail
from .object_info import input_replacements
from .pools import Pools
from .sockets import Hub, PreviewImage
from .worker import Worker

log = logging.getLogger(__name__)
MAX_LISTED = 10_000
MAX_NAMED = 20
UPLOADS_AT_ONCE = 3


@dataclass(frozen=True)
class Options:
    """The settings of a server.

    Attributes:
        data: the folder for input, output, temp, user and the queue.
        hosts: further host names that are accepted.
        origins: other origins whose pages may use the server; none by default.
        previews: the preview method while sampling; None sends no previews.
        tls: certificate and key; None for plain HTTP.
        embeds_graph: saved images carry the graph that made them.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 8188
    token: str = ""
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    max_upload_bytes: int = 100 * 2**20
    previews: PreviewMethod | None = "auto"
    tls: ssl.SSLContext | None = None
    embeds_graph: bool = True


@dataclass
class Site:
    """One server. It holds the data folder from construction to `close`.

    Raises:
        QueueError: another server uses the folder.
    """

    options: Options
    registry: Registry
    logs: LogTail = field(default_factory=LogTail)

    def __post_init__(self) -> None:
        self.stuck = False
        data = self.options.data
        self.folders: dict[str, Path] = {kind: data / kind for kind in ("output", "temp", "input")}
        self.user_dir = data / "user" / "default"
        self.store = JobStore(data / ".latentloom" / "queue.sqlite")
        if self.store.damage is not None:
            log.error("%s", self.store.damage)
        if self.store.parked:
            names = ", ".join(map(repr, self.store.parked[:MAX_NAMED]))
            log.warning("%s jobs are not tried again: %s", len(self.store.parked), names)
        own = (self.user_dir / "workflows", self.user_dir / "subgraphs")
        for folder in (*self.folders.values(), *own):
            folder.mkdir(parents=True, exist_ok=True)
        self.library = graphs_dir()
        self.workspace = Workspace(
            input_dir=self.folders["input"],
            output_dir=self.folders["output"],
            temp_dir=self.folders["temp"],
            library_dir=self.library,
            embeds_graph=self.options.embeds_graph,
        )
        self.engine = Engine(self.registry, store=open_store(self.registry))
        self.image_service = image_service(self.registry)
        self.hub = Hub(self.features(), self.store.remaining)
        self.worker = Worker(
            self.engine, self.store, self.hub, self.workspace, self.folders, self._send_preview
        )
        self.pools = Pools()
        self.settings_lock = asyncio.Lock()
        # An upload stays in memory until it is checked.
        self.uploads = asyncio.Semaphore(UPLOADS_AT_ONCE)
        self._counter = itertools.count(self.store.last_number())

    def next_number(self) -> int:
        """Return the queue number of the next prompt."""
        return next(self._counter)

    def features(self) -> dict[str, Any]:
        """Return the feature flags that clients ask for."""
        return {
            "supports_preview_metadata": True,
            "max_upload_size": self.options.max_upload_bytes,
            "assets": False,
            "node_replacements": bool(input_replacements(self.registry)),
        }

    def images(self) -> list[str]:
        """Return the names of the images that a node may load: uploads first, then shipped ones."""
        own = _images_in(self.folders["input"], "")
        shipped = _images_in(self.library / "inputs", "inputs/") if self.library else []
        return own + [name for name in shipped if name not in own]

    def close(self) -> None:
        """Stop the worker and release the data folder."""
        self.stuck = not self.worker.stop()
        self.hub.detach()
        self.store.close()
        if not self.stuck:
            self.engine.close()

    def _send_preview(self, client: str | None, value: object, ids: Mapping[str, Any]) -> None:
        """Send a preview if the client is connected and the value can be shown."""
        method = self.options.previews
        if method is None or not self.hub.wants_previews(client):
            return
        try:
            image: EncodedImage | None = self.image_service.preview(value, method)
        except LatentloomError:
            return
        if image is not None:
            self.hub.send_preview(client, PreviewImage(image.data, image.mime, ids))


def _images_in(folder: Path, prefix: str) -> list[str]:
    try:
        names = sorted(
            entry.name
            for entry in itertools.islice(folder.iterdir(), MAX_LISTED)
            if is_image_name(entry) and entry.is_file()
        )
    except OSError:
        return []
    return [prefix + name for name in names]
