"""POST /prompt: turn a body into a job, or into errors in the editor's shape. Runs nothing."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from latentloom.engine.errors import Problem
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.formats.comfy_prompt import is_editor_workflow, is_prompt, read_prompt
from latentloom.engine.graph.graph import Graph
from latentloom.engine.graph.sound import blocked_nodes
from latentloom.engine.graph.validate import prepare
from latentloom.engine.jobs.store import QueuedJob
from latentloom.engine.node.registry import Registry

from .problems import missing_type, node_errors, prompt_error, summary
from .sockets import MAX_CLIENT_CHARS

SECRETS = ("auth_token_comfy_org", "api_key_comfy_org")
MAX_NODES = 50_000
MAX_ID_CHARS = 256
MAX_JOB_ID_CHARS = 128


class RejectedPromptError(Exception):
    """A prompt that cannot run; `body` is the server's answer."""

    def __init__(self, error: Mapping[str, Any], errors: Mapping[str, Any] | None = None) -> None:
        super().__init__(error["message"])
        self.body = {"error": dict(error), "node_errors": dict(errors or {})}


@dataclass(frozen=True)
class Accepted:
    """A prompt that can run, at least in part."""

    job: QueuedJob
    node_errors: Mapping[str, Any]


def read_graph(prompt: Mapping[str, Any], registry: Registry) -> Graph:
    """Return the graph of a prompt.

    Raises:
        RejectedPromptError: the body is not a prompt, or uses a node that is not installed.
    """
    if not prompt:
        raise RejectedPromptError(prompt_error("prompt_no_outputs", "Prompt has no outputs"))
    if is_editor_workflow(prompt):
        text = "This is an editor workflow; expected a prompt in API format"
        hint = "convert it: latentloom convert workflow.json workflow.api.json"
        raise RejectedPromptError(prompt_error("invalid_prompt", text, hint))
    if len(prompt) > MAX_NODES:
        text = f"The prompt has {len(prompt)} nodes; at most {MAX_NODES} are allowed"
        raise RejectedPromptError(prompt_error("invalid_prompt", text))
    for id, entry in prompt.items():
        if len(id) > MAX_ID_CHARS:
            text = f"node ids: expected at most {MAX_ID_CHARS} characters, got {len(id)}"
            raise RejectedPromptError(prompt_error("invalid_prompt", text))
        if not isinstance(entry, Mapping) or not isinstance(entry.get("class_type"), str):
            text = "Cannot execute because a node is missing the class_type property."
            raise RejectedPromptError(prompt_error("invalid_prompt", text, f"Node ID '#{id}'"))
        if not isinstance(entry.get("inputs"), Mapping):
            text = "Cannot execute because a node has no inputs object."
            raise RejectedPromptError(prompt_error("invalid_prompt", text, f"Node ID '#{id}'"))
    assert is_prompt(prompt)
    return read_prompt(prompt, registry)


def accept(body: Any, registry: Registry, workspace: Workspace, counter: int) -> Accepted:
    """Return the job that a request asks for.

    Args:
        counter: the number of prompts before it.

    Raises:
        RejectedPromptError: it cannot run; the body says why in the editor's shape.
    """
    if not isinstance(body, Mapping) or not isinstance(body.get("prompt"), Mapping):
        raise RejectedPromptError(
            prompt_error("no_prompt", "No prompt provided", "No prompt provided")
        )
    id, extra = _id(body.get("prompt_id")), _extra(body.get("extra_data"))
    client = _client(body.get("client_id"))
    graph = read_graph(body["prompt"], registry)
    outputs = _outputs(body.get("partial_execution_targets"), graph, registry)
    problems = prepare(graph, registry, workspace, outputs).problems
    unknown = next((problem for problem in problems if problem.kind == "unknown_node"), None)
    if unknown is not None:
        raise RejectedPromptError(missing_type(unknown, graph))
    errors = node_errors(problems, graph, registry, outputs)
    good = _good(outputs, problems, graph)
    if not good:
        text = "Prompt outputs failed validation"
        raise RejectedPromptError(
            prompt_error("prompt_outputs_failed_validation", text, summary(errors)), errors
        )
    job = QueuedJob(
        id=id,
        prompt=body["prompt"],
        targets=good,
        number=_number(body, counter),
        extra=extra if client is None else {**extra, "client_id": client},
        client=client,
    )
    return Accepted(replace(job, extra={**job.extra, "create_time": job.created}), errors)


def _good(outputs: tuple[str, ...], problems: tuple[Problem, ...], graph: Graph) -> tuple[str, ...]:
    if not problems:
        return outputs
    blocked = blocked_nodes(problems, graph)
    return tuple(id for id in outputs if id not in blocked)


def _outputs(targets: Any, graph: Graph, registry: Registry) -> tuple[str, ...]:
    """Return the output nodes to run."""
    outputs = tuple(
        id
        for id, node in graph.nodes.items()
        if (spec := registry.get(node.type)) is not None and spec.output_node
    )
    if targets is not None:
        if not isinstance(targets, list) or not all(isinstance(id, str) for id in targets):
            text = "partial_execution_targets: expected a list of node ids"
            raise RejectedPromptError(prompt_error("invalid_prompt", text))
        chosen = frozenset(targets)
        outputs = tuple(id for id in outputs if id in chosen)
    if outputs:
        return outputs
    unknown_nodes = [
        Problem.unknown_node(node.type, node=id)
        for id, node in graph.nodes.items()
        if node.type not in registry
    ]
    if unknown_nodes:
        raise RejectedPromptError(missing_type(unknown_nodes[0], graph))
    raise RejectedPromptError(prompt_error("prompt_no_outputs", "Prompt has no outputs"))


def _id(given: Any) -> str:
    """Return the id of the job: any string, as in ComfyUI; a new one for null and ""."""
    if given is None or given == "":
        return str(uuid.uuid4())
    is_id = isinstance(given, str | int | float) and not isinstance(given, bool)
    if is_id and len(str(given)) <= MAX_JOB_ID_CHARS:
        return str(given)
    text = f"prompt_id: expected a string of at most {MAX_JOB_ID_CHARS} characters"
    raise RejectedPromptError(prompt_error("invalid_prompt_id", text))


def _client(given: Any) -> str | None:
    """Return the name of a client as the WebSocket has it; None for none, and for an empty one."""
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise RejectedPromptError(prompt_error("invalid_client_id", "client_id must be a string"))
    return str(given)[:MAX_CLIENT_CHARS] or None


def _extra(given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise RejectedPromptError(prompt_error("invalid_prompt", "extra_data must be an object"))
    return {key: value for key, value in given.items() if key not in SECRETS}


def _number(body: Mapping[str, Any], counter: int) -> float:
    given = body.get("number")
    if given is not None:
        good = isinstance(given, int | float) and not isinstance(given, bool)
        if not good or not math.isfinite(given):
            raise RejectedPromptError(prompt_error("invalid_prompt", "`number` must be a number"))
        return float(given)
    return float(-counter if body.get("front") is True else counter)


def workflow_metadata(job: QueuedJob) -> dict[str, str]:
    """Return the editor's workflow, which images of this job carry besides the graph."""
    from json import dumps

    info = job.extra.get("extra_pnginfo")
    if not isinstance(info, Mapping):
        return {}
    chunks = {str(key): dumps(value, ensure_ascii=False) for key, value in info.items()}
    return {key: text for key, text in chunks.items() if re.fullmatch(r"[A-Za-z0-9_ -]{1,60}", key)}
