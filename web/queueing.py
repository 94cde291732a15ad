"""Routes of the queue: prompt, queue, history, interrupt, free."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from latentloom.engine.jobs.store import DuplicateError, QueuedJob

from .problems import prompt_error
from .prompts import RejectedPromptError, accept
from .routes import (
    RequestError,
    Routes,
    answer,
    done,
    read_json,
    read_object,
    texts,
    whole_number,
)
from .site import Site

routes = Routes()
MAX_QUEUED = 100_000


@routes.add("GET", "/prompt", "How many jobs wait or run")
async def counts(site: Site, request: web.Request) -> web.Response:
    return answer(site.hub.counts())


@routes.add("POST", "/prompt", "Run a graph in API format", body="json")
async def submit(site: Site, request: web.Request) -> web.Response:
    counter = site.next_number()
    try:
        body = await read_json(request)
        accepted = await asyncio.to_thread(accept, body, site.registry, site.workspace, counter)
        if site.store.remaining() >= MAX_QUEUED:
            raise RequestError(503, f"the queue is full: {MAX_QUEUED} jobs wait")
        await asyncio.to_thread(site.store.submit, accepted.job)
    except RejectedPromptError as refused:
        return answer(refused.body, 400)
    except RequestError as refused:
        error = prompt_error("invalid_prompt", str(refused))
        return answer({"error": error, "node_errors": {}}, refused.status)
    except DuplicateError as error:
        refusal = prompt_error("invalid_prompt_id", str(error))
        return answer({"error": refusal, "node_errors": {}}, 400)
    site.worker.wake()
    site.hub.status()
    job = accepted.job
    return answer(
        {"prompt_id": job.id, "number": job.number, "node_errors": dict(accepted.node_errors)}
    )


@routes.add("GET", "/queue", "The jobs that run and wait")
async def queue(site: Site, request: web.Request) -> web.Response:
    running, pending = await asyncio.to_thread(
        lambda: (site.store.queued("running"), site.store.queued("pending"))
    )
    return answer(
        {
            "queue_running": [item(job) for job in running],
            "queue_pending": [item(job) for job in pending],
        }
    )


@routes.add("POST", "/queue", "Delete waiting jobs by id, or all of them", body="json")
async def change_queue(site: Site, request: web.Request) -> web.Response:
    body = await read_object(request)
    ids = texts(body.get("delete", []), "delete")
    if body.get("clear") is True:
        await asyncio.to_thread(site.store.remove_pending)
    if ids:
        await asyncio.to_thread(site.store.remove_pending, ids)
    site.hub.status()
    return done()


@routes.add("POST", "/interrupt", "Cancel what runs, or one job if it runs", body="json")
async def interrupt(site: Site, request: web.Request) -> web.Response:
    id = (await read_object(request)).get("prompt_id")
    if id is not None and not isinstance(id, str):
        raise RequestError(400, "prompt_id wants a text")
    site.worker.interrupt(id)
    return done()


@routes.add("POST", "/free", "Forget cached outputs, and with them the models in them", body="json")
async def free(site: Site, request: web.Request) -> web.Response:
    body = await read_object(request)
    if body.get("unload_models") is True or body.get("free_memory") is True:
        await asyncio.to_thread(site.engine.cache.clear)
    return done()


@routes.add("GET", "/history", "Jobs that ended, oldest first")
async def history(site: Site, request: web.Request) -> web.Response:
    limit = whole_number(request, "max_items")
    offset = whole_number(request, "offset", low=-1)
    jobs = await asyncio.to_thread(site.store.ended, limit, None if offset == -1 else offset)
    return answer({job.id: entry(job) for job in jobs})


@routes.add("GET", "/history/{prompt_id}", "One job that ended; empty until it has")
async def one_history(site: Site, request: web.Request) -> web.Response:
    job = await asyncio.to_thread(site.store.find, request.match_info["prompt_id"])
    ended = job is not None and job.state in ("completed", "failed", "cancelled")
    return answer({job.id: entry(job)} if job is not None and ended else {})


@routes.add("POST", "/history", "Forget jobs that ended by id, or all of them", body="json")
async def change_history(site: Site, request: web.Request) -> web.Response:
    body = await read_object(request)
    ids = texts(body.get("delete", []), "delete")
    if body.get("clear") is True:
        await asyncio.to_thread(site.store.forget)
    if ids:
        await asyncio.to_thread(site.store.forget, ids)
    return done()


def item(job: QueuedJob) -> list[Any]:
    """A job as /queue lists it."""
    return [job.number, job.id, job.prompt, job.extra, list(job.targets)]


def entry(job: QueuedJob) -> dict[str, Any]:
    """A job that ended, as /history gives it."""
    record: Mapping[str, Any] = job.record if "status" in job.record else _without_run(job)
    return {"prompt": item(job), **record}


def _without_run(job: QueuedJob) -> dict[str, Any]:
    """The record of a job that ended outside a run: cancelled while it waited, or parked."""
    facts: dict[str, Any] = {"prompt_id": job.id, "timestamp": job.created}
    facts |= {"node_id": "", "node_type": "", "executed": []}
    event = "execution_interrupted"
    if "parked" in job.record:
        event = "execution_error"
        facts |= {
            "exception_message": job.record["parked"], "exception_type": "Parked",
            "traceback": [], "current_inputs": {}, "current_outputs": [],
        }  # fmt: skip
    status = {"status_str": "error", "completed": False, "messages": [[event, facts]]}
    return {"outputs": {}, "status": status, "meta": {}}
