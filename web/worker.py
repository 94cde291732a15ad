"""The thread that runs jobs one after another; no failure of a job can stop it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from latentloom.engine.cache.release import release_memory
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.jobs.store import JobStore, QueuedJob, State
from latentloom.engine.node.cancel import CancelToken

from .prompts import read_graph, workflow_metadata
from .run_messages import RunMessages
from .sockets import Hub

log = logging.getLogger(__name__)
IDLE_S = 5.0
MIN_ABANDONED_S = 3600.0
GRACE_S = 2.0

SendPreview = Callable[[str | None, object, Mapping[str, Any]], None]


class Worker:
    """Takes jobs from the store and runs them on the engine.

    Args:
        folders: the folders of saved files by ComfyUI's names (output, temp, input).
        send_preview: sends a preview of a value to a client.
    """

    def __init__(
        self,
        engine: Engine,
        store: JobStore,
        hub: Hub,
        workspace: Workspace,
        folders: Mapping[str, Path],
        send_preview: SendPreview,
    ) -> None:
        self.engine, self.store, self.hub = engine, store, hub
        self.workspace, self.folders, self.send_preview = workspace, folders, send_preview
        self._wake = threading.Event()
        self._stopping = False
        self._give_up: float | None = None
        self._lock = threading.Lock()
        self._current: tuple[str, CancelToken] | None = None
        self._thread = threading.Thread(target=self._loop, name="latentloom-worker", daemon=True)

    def start(self) -> None:
        """Start running jobs."""
        self._thread.start()

    def wake(self) -> None:
        """Check the queue now."""
        self._wake.set()

    def interrupt(self, id: str | None = None) -> bool:
        """Cancel the running job, or only the one with this id.

        Returns:
            True if this call cancelled it; False if it does not run or was cancelled before.
        """
        with self._lock:
            if self._current is None or id not in (None, self._current[0]):
                return False
            token = self._current[1]
            was_cancelled = token.is_set()
            token.cancel()
            return not was_cancelled

    def begin_stop(self) -> None:
        """Cancel the running job and take no other; `stop` waits for the end."""
        self._stopping = True
        if self._give_up is None:
            self._give_up = time.monotonic() + GRACE_S
        self.interrupt()
        self._wake.set()

    def grace_s(self) -> float:
        """Return the seconds that a running node still has to react to a stop."""
        return GRACE_S if self._give_up is None else max(0.0, self._give_up - time.monotonic())

    def stop(self) -> bool:
        """Stop and put the running job back into the queue, GRACE_S after the stop began.

        Returns:
            True if the thread ended, False if a node does not react to cancel.
        """
        self.begin_stop()
        if self._thread.is_alive():
            self._thread.join(self.grace_s())
        if not self._thread.is_alive():
            return True
        with self._lock:
            if self._current is not None:
                self.store.release(self._current[0])
        return False

    def _loop(self) -> None:
        for folder in self.folders.values():
            remove_partial_files(folder)
        is_trimmed = True
        while not self._stopping:
            self._wake.clear()
            token = CancelToken()
            try:
                job = self._take(token)
            except Exception:
                # The disk may be full for a while; the jobs stay in the queue.
                log.exception("the queue cannot be read")
                self._wake.wait(IDLE_S)
                continue
            if job is not None:
                self._run(job, token)
                is_trimmed = False
            elif not is_trimmed:
                release_memory()
                is_trimmed = True
            else:
                self._wake.wait(IDLE_S)

    def _take(self, token: CancelToken) -> QueuedJob | None:
        """Return the next job. A job can be cancelled from the moment it is marked running."""
        with self._lock:
            job = None if self._stopping else self.store.take()
            self._current = (job.id, token) if job is not None else None
        return job

    def _run(self, job: QueuedJob, token: CancelToken) -> None:
        messages = self._messages(job)
        messages.start()
        try:
            state, record = self._execute(job, token, messages)
        except Exception as error:  # noqa: BLE001 - whatever a job raises is its own outcome
            state, record = messages.fail(error)
        with self._lock:
            self._current = None
        self.hub.running = None
        self._end(job, state, record)

    def _execute(
        self, job: QueuedJob, token: CancelToken, messages: RunMessages
    ) -> tuple[State, dict[str, Any]]:
        result = self.engine.run(
            read_graph(job.prompt, self.engine.registry),
            self.workspace,
            job.targets,
            messages.event,
            token,
            messages.plan,
            workflow_metadata(job),
        )
        if result.status == "cancelled":
            return messages.stop()
        if result.errors:
            return messages.fail(result.errors[0])
        return messages.succeed()

    def _end(self, job: QueuedJob, state: State, record: Mapping[str, Any]) -> None:
        """Write the history first, then send the messages that announce it."""
        try:
            if self._stopping and state == "cancelled":
                self.store.release(job.id)
            else:
                self.store.finish(job.id, state, record)
        except Exception:
            log.exception("the end of job %r cannot be recorded", job.id)
        self.hub.status()
        self.hub.send(job.client, "executing", {"node": None, "prompt_id": job.id})

    def _messages(self, job: QueuedJob) -> RunMessages:
        def send(type_name: str, data: Mapping[str, Any]) -> None:
            if job.client is None and type_name == "execution_interrupted":
                self.hub.broadcast(type_name, data)
            self.hub.send(job.client, type_name, data)

        def at_node(id: str) -> None:
            if job.client is not None:
                self.hub.running = (job.client, id)

        def send_preview(value: object, ids: Mapping[str, Any]) -> None:
            self.send_preview(job.client, value, ids)

        return RunMessages(job, self.folders, send, send_preview, at_node)


def remove_partial_files(folder: Path, older_than_s: float = MIN_ABANDONED_S) -> None:
    """Remove partial files of writers that died."""
    try:
        for part in folder.rglob(".latentloom-*.part"):
            if time.time() - part.stat().st_mtime > older_than_s:
                part.unlink(missing_ok=True)
    except OSError as error:
        log.warning("partial files in %s cannot be removed: %s", folder.name, error.strerror)
