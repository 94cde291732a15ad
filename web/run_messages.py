"""Turn the engine's events into messages for ComfyUI's clients, and into the history record.

A message holds what changed, not the whole state, so a run's traffic is linear in its nodes.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from latentloom.engine.errors import GraphError, InputError, LatentloomError, NodeError
from latentloom.engine.execution.events import (
    AnyEvent,
    Failed,
    Finished,
    NodeEvent,
    Preview,
    Progress,
    Reused,
    Started,
    Stopped,
)
from latentloom.engine.execution.plan import Plan
from latentloom.engine.files.image_formats import is_image_name
from latentloom.engine.files.saving import key_of_image
from latentloom.engine.jobs.store import QueuedJob, State

from .redact import without_folders

Send = Callable[[str, Mapping[str, Any]], None]
SendPreview = Callable[[object, Mapping[str, Any]], None]


class RunMessages:
    """The messages and the history record of one run, in the thread that runs it.

    Args:
        folders: the folders of saved files by ComfyUI's names: output, temp, input.
        send: sends a message of a type to the client that asked for the run.
        send_preview: sends a preview to that client.
        at_node: is called with the id of each node that starts.
    """

    def __init__(
        self,
        job: QueuedJob,
        folders: Mapping[str, Path],
        send: Send,
        send_preview: SendPreview,
        at_node: Callable[[str], None],
    ) -> None:
        self.job, self.send, self.send_preview, self.at_node = job, send, send_preview, at_node
        self.folders = {name: folder.resolve() for name, folder in folders.items()}
        self.messages: list[list[Any]] = []
        self.outputs: dict[str, Any] = {}
        self.executed: list[str] = []
        self.running: dict[str, dict[str, Any]] = {}
        self.cached: set[str] = set()
        self.last_node = ""

    def start(self) -> None:
        """Send that the run starts."""
        self._milestone("execution_start", {})

    def plan(self, plan: Plan) -> None:
        """Send which nodes will not run."""
        cached = [
            step.id
            for step in plan.nodes.values()
            if step.action == "reuse" or (step.action == "skip" and step.key)
        ]
        self.cached.update(cached)
        self._milestone("execution_cached", {"nodes": cached})

    def event(self, event: AnyEvent) -> None:
        """Send the messages for one event of the engine."""
        match event:
            case Started():
                self._started(event.node)
            case Progress():
                self._progress(event)
            case Preview():
                self.send_preview(event.value, self._ids(event.node))
            case Reused():
                self._reused(event.node)
                self._finished(event.node, self._output(event.saved, event.text))
            case Finished():
                self._finished(event.node, self._output(event.saved, event.text))
            case Failed():
                self._progress_state(event.node, "error")
            case Stopped():
                self.last_node = event.node
            case NodeEvent():
                pass

    def succeed(self) -> tuple[State, dict[str, Any]]:
        """Send that the run succeeded; return its state and history record."""
        self._milestone("execution_success", {})
        return "completed", self._record("success")

    def fail(self, error: Exception) -> tuple[State, dict[str, Any]]:
        """Send that the run failed; return its state and history record."""
        self._milestone("execution_error", self._error(error))
        return "failed", self._record("error")

    def stop(self) -> tuple[State, dict[str, Any]]:
        """Send that the run was cancelled; return its state and history record."""
        node = self.last_node or next(iter(self.running), "")
        data = {"node_id": node, "node_type": self._type(node), "executed": self.executed}
        self._milestone("execution_interrupted", data)
        return "cancelled", self._record("error")

    def _started(self, id: str) -> None:
        self.last_node = id
        self.at_node(id)
        self.running[id] = {"value": 0, "max": 1, "state": "running", **self._ids(id)}
        self._progress_state(id, "running")
        self.send("executing", {"node": id, "display_node": id, "prompt_id": self.job.id})

    def _reused(self, id: str) -> None:
        """Send that a node will not run, if the plan could not know it."""
        if id not in self.cached:
            self.cached.add(id)
            now = time.time_ns() // 1_000_000
            data = {"nodes": [id], "prompt_id": self.job.id, "timestamp": now}
            self.send("execution_cached", data)

    def _progress(self, event: Progress) -> None:
        self.running.setdefault(event.node, {"state": "running", **self._ids(event.node)})
        self.running[event.node] |= {"value": event.step, "max": event.total}
        data = {"value": event.step, "max": event.total, "node": event.node}
        self.send("progress", {**data, "prompt_id": self.job.id})
        self._progress_state(event.node, "running")

    def _finished(self, id: str, output: Mapping[str, list[Any]]) -> None:
        self.executed.append(id)
        if output:
            self.outputs[id] = output
            data = {"node": id, "display_node": id, "output": output}
            self.send("executed", {**data, "prompt_id": self.job.id})
        if output or id in self.running:
            self._progress_state(id, "finished")

    def _progress_state(self, id: str, state: str) -> None:
        """Send the state of the running nodes, and of the one that has just changed."""
        entry = self.running.get(id) or {"value": 1, "max": 1, **self._ids(id)}
        entry["state"] = state
        if state != "running":
            entry["value"] = entry["max"]
        nodes = {**self.running, id: entry}
        self.send("progress_state", {"prompt_id": self.job.id, "nodes": nodes})
        if state != "running":
            self.running.pop(id, None)

    def _milestone(self, type_name: str, fields: Mapping[str, Any]) -> None:
        """Send a message that the history record holds, too."""
        now = time.time_ns() // 1_000_000
        data = {**fields, "prompt_id": self.job.id, "timestamp": now}
        self.messages.append([type_name, data])
        self.send(type_name, data)

    def _ids(self, id: str) -> dict[str, Any]:
        return {
            "node_id": id, "prompt_id": self.job.id, "display_node_id": id,
            "parent_node_id": None, "real_node_id": id,
        }  # fmt: skip

    def _output(self, saved: tuple[str, ...], text: str) -> dict[str, list[Any]]:
        """Return what a node shows, by ComfyUI's keys; `files` has all but images."""
        output: dict[str, list[Any]] = {}
        for path in saved:
            key = key_of_image(Path(path)) if is_image_name(path) else "files"
            output.setdefault(key, []).append(self._item(path))
        return {**output, "text": [text]} if text else output

    def _item(self, path: str) -> dict[str, str]:
        """Return a saved file as clients ask for it: its name, subfolder, and kind of folder."""
        resolved = Path(path).resolve()
        for kind, folder in self.folders.items():
            # A path through a linked folder is relative to ours before it is resolved.
            for inside in (Path(path).absolute(), resolved):
                if inside.is_relative_to(folder):
                    parent = inside.relative_to(folder).parent.as_posix()
                    subfolder = "" if parent == "." else parent
                    return {"filename": inside.name, "subfolder": subfolder, "type": kind}
        return {"filename": resolved.name, "subfolder": "", "type": "output"}

    def _record(self, status: str) -> dict[str, Any]:
        return {
            "outputs": self.outputs,
            "status": {
                "status_str": status,
                "completed": status == "success",
                "messages": self.messages,
            },
            "meta": {
                id: {"node_id": id, "display_node": id, "parent_node": None, "real_node_id": id}
                for id in self.outputs
            },
        }

    def _type(self, id: str) -> str:
        entry = self.job.prompt.get(id)
        return str(entry.get("class_type", "")) if isinstance(entry, Mapping) else ""

    def _error(self, error: Exception) -> dict[str, Any]:
        return error_fields(error, self.executed, self.last_node, self._type(self.last_node))


def error_fields(
    error: Exception, executed: list[str], node: str, type_name: str
) -> dict[str, Any]:
    """Return the fields of the message execution_error."""
    inputs: Mapping[str, str] = {}
    cause: BaseException = error
    message = str(error)
    if isinstance(error, NodeError):
        node, type_name, inputs, message = error.node, error.type, error.inputs, error.reason
        cause = error.__cause__ or error
    elif isinstance(error, GraphError) and error.problems:
        node, type_name = error.problems[0].node, error.problems[0].type
    return {
        "node_id": node,
        "node_type": type_name,
        "executed": executed,
        "exception_message": without_folders(message),
        "exception_type": type(cause).__name__,
        "traceback": _traceback(cause),
        "current_inputs": {name: [value] for name, value in inputs.items()},
        "current_outputs": executed,
    }


def _traceback(cause: BaseException) -> list[str]:
    """Return the frames of an unforeseen error, without folders; none for an error of ours."""
    if isinstance(cause, LatentloomError | InputError):
        return []
    frames = traceback.extract_tb(cause.__traceback__)
    return [f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames]
