"""Events of the engine -> messages of ComfyUI's WebSocket, and the record for the history.

A message tells what changed, not all that is known, so that a run's traffic is linear in its
nodes. One Telling follows one run, in the thread that runs it.
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
    Event,
    Failed,
    Finished,
    Preview,
    Progress,
    Reused,
    Started,
    Stopped,
)
from latentloom.engine.execution.plan import Plan
from latentloom.engine.files.image_formats import is_image_name
from latentloom.engine.jobs.store import QueuedJob, State

from .redact import without_folders

Tell = Callable[[str, Mapping[str, Any]], None]
Show = Callable[[object, Mapping[str, Any]], None]


class Telling:
    """Follows one run.

    Args:
        folders: the folders of saved files by ComfyUI's names: output, temp, input.
        tell: sends a message of a type to who asked for the run.
        show: sends a preview to them.
        at_node: is told which node runs.
    """

    def __init__(
        self,
        job: QueuedJob,
        folders: Mapping[str, Path],
        tell: Tell,
        show: Show,
        at_node: Callable[[str], None],
    ) -> None:
        self.job, self.tell, self.show, self.at_node = job, tell, show, at_node
        self.folders = {name: folder.resolve() for name, folder in folders.items()}
        self.messages: list[list[Any]] = []
        self.outputs: dict[str, Any] = {}
        self.executed: list[str] = []
        self.running: dict[str, dict[str, Any]] = {}
        self.last = ""

    def start(self) -> None:
        """The job is taken."""
        self._milestone("execution_start", {})

    def plan(self, plan: Plan) -> None:
        """The plan is made: say which nodes need not run."""
        kept = [
            step.id
            for step in plan.nodes.values()
            if step.action == "reuse" or (step.action == "skip" and step.key)
        ]
        self._milestone("execution_cached", {"nodes": kept})

    def event(self, event: AnyEvent) -> None:
        """One event of the engine."""
        match event:
            case Started():
                self._started(event.node)
            case Progress():
                self._progress(event)
            case Preview():
                self.show(event.value, self._place(event.node))
            case Finished() | Reused():
                self._finished(event.node, self._output(event.saved, event.text))
            case Failed():
                self._progress_state(event.node, "error")
            case Stopped():
                self.last = event.node
            case Event():
                pass

    def succeed(self) -> tuple[State, dict[str, Any]]:
        """The run is done: tell it, and give its state and record."""
        self._milestone("execution_success", {})
        return "completed", self._record("success")

    def fail(self, error: Exception) -> tuple[State, dict[str, Any]]:
        """The run failed."""
        self._milestone("execution_error", self._error(error))
        return "failed", self._record("error")

    def stop(self) -> tuple[State, dict[str, Any]]:
        """The run was cancelled."""
        node = self.last or next(iter(self.running), "")
        facts = {"node_id": node, "node_type": self._type(node), "executed": self.executed}
        self._milestone("execution_interrupted", facts)
        return "cancelled", self._record("error")

    def _started(self, id: str) -> None:
        self.last = id
        self.at_node(id)
        self.running[id] = {"value": 0, "max": 1, "state": "running", **self._place(id)}
        self._progress_state(id, "running")
        facts = {"node": id, "display_node": id, "prompt_id": self.job.id}
        self.tell("executing", facts)

    def _progress(self, event: Progress) -> None:
        self.running.setdefault(event.node, {"state": "running", **self._place(event.node)})
        self.running[event.node] |= {"value": event.step, "max": event.total}
        facts = {"value": event.step, "max": event.total, "node": event.node}
        self.tell("progress", {**facts, "prompt_id": self.job.id})
        self._progress_state(event.node, "running")

    def _finished(self, id: str, output: Mapping[str, list[Any]]) -> None:
        self.executed.append(id)
        if output:
            self.outputs[id] = output
            facts = {"node": id, "display_node": id, "output": output}
            self.tell("executed", {**facts, "prompt_id": self.job.id})
        if output or id in self.running:
            self._progress_state(id, "finished")

    def _progress_state(self, id: str, state: str) -> None:
        """Tell the nodes that run, and the one that has just changed."""
        entry = self.running.get(id) or {"value": 1, "max": 1, **self._place(id)}
        entry["state"] = state
        if state != "running":
            entry["value"] = entry["max"]
        nodes = {**self.running, id: entry}
        self.tell("progress_state", {"prompt_id": self.job.id, "nodes": nodes})
        if state != "running":
            self.running.pop(id, None)

    def _milestone(self, type_name: str, facts: Mapping[str, Any]) -> None:
        """A message that the history keeps too."""
        now = time.time_ns() // 1_000_000
        data = {**facts, "prompt_id": self.job.id, "timestamp": now}
        self.messages.append([type_name, data])
        self.tell(type_name, data)

    def _place(self, id: str) -> dict[str, Any]:
        return {
            "node_id": id, "prompt_id": self.job.id, "display_node_id": id,
            "parent_node_id": None, "real_node_id": id,
        }  # fmt: skip

    def _output(self, saved: tuple[str, ...], text: str) -> dict[str, list[Any]]:
        """What a node has to show, by ComfyUI's keys; `files` holds what is no image."""
        found: dict[str, list[Any]] = {}
        for path in saved:
            key = "images" if is_image_name(path) else "files"
            found.setdefault(key, []).append(self._item(path))
        return {**found, "text": [text]} if text else found

    def _item(self, path: str) -> dict[str, str]:
        """A saved file as clients ask for it: name, folder below the root, and the root."""
        found = Path(path).resolve()
        for kind, folder in self.folders.items():
            if found.is_relative_to(folder):
                parent = found.relative_to(folder).parent.as_posix()
                subfolder = "" if parent == "." else parent
                return {"filename": found.name, "subfolder": subfolder, "type": kind}
        return {"filename": found.name, "subfolder": "", "type": "output"}

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
        return error_facts(error, self.executed, self.last, self._type(self.last))


def error_facts(error: Exception, executed: list[str], node: str, type_name: str) -> dict[str, Any]:
    """What failed, where and with what, as execution_error tells it."""
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
    """Where an unforeseen error arose, without paths; nothing for the errors that say it all."""
    if isinstance(cause, LatentloomError | InputError):
        return []
    frames = traceback.extract_tb(cause.__traceback__)
    return [f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames]
