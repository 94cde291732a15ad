"""Routes of the queue: prompt, queue, history, interrupt, free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Any

from aiohttp import web

from latentloom.engine.jobs.store import DuplicateError, QueuedJob, QueueFullError

from .problems import prompt_error
from .prompts import RejectedPromptError, accept
from .routes import (
    RequestError,
    Routes,
    answer,
    answer_json,
    done,
    json_array,
    json_object,
    query_int,
    read_json,
    read_object,
    string_list,
)
from .site import Site

routes = Routes()
MAX_QUEUED = 100_000


@routes.add("GET", "/prompt", "The number of pending and running jobs")
async def counts(site: Site, request: web.Request) -> web.Response:
    return answer(await site.pools.queue.run(site.hub.counts))


@routes.add("POST", "/prompt", "Run a graph in API format", body="json")
async def submit(site: Site, request: web.Request) -> web.Response:
    counter = site.next_number()
    try:
        body = await read_json(request, numbers="inputs")
        accepted = await site.pools.graphs.run(accept, body, site.registry, site.workspace, counter)
        if await site.pools.queue.run(site.store.remaining) >= MAX_QUEUED:
            raise RequestError(503, f"the queue is full: {MAX_QUEUED} jobs are pending")
        await site.pools.queue.run(site.store.submit, accepted.job)
    except RejectedPromptError as error:
        return answer(error.body, 400)
    except RequestError as error:
        body = {"error": prompt_error("invalid_prompt", str(error)), "node_errors": {}}
        return answer(body, error.status)
    except QueueFullError as error:
        body = {"error": prompt_error("invalid_prompt", str(error)), "node_errors": {}}
        return answer(body, 503)
    except DuplicateError as error:
        body = {"error": prompt_error("invalid_prompt_id", str(error)), "node_errors": {}}
        return answer(body, 400)
    site.worker.wake()
    await site.pools.queue.run(site.hub.status)
    job = accepted.job
    return answer(
        {"prompt_id": job.id, "number": job.number, "node_errors": dict(accepted.node_errors)}
    )


@routes.add("GET", "/queue", "The running and pending jobs")
async def queue(site: Site, request: web.Request) -> web.Response:
    def write() -> bytes:
        running = json_array(item(job) for job in site.store.queued("running"))
        pending = json_array(item(job) for job in site.store.queued("pending"))
        return b'{"queue_running":%b,"queue_pending":%b}' % (running, pending)

    return answer_json(await site.pools.queue.run(write))


@routes.add("POST", "/queue", "Delete pending jobs by id, or all of them", body="json")
async def change_queue(site: Site, request: web.Request) -> web.Response:
    await _delete_or_clear(site, request, site.store.remove_pending)
    await site.pools.queue.run(site.hub.status)
    return done()


@routes.add(
    "POST", "/interrupt", "Cancel the running job, or one job if it is running", body="json"
)
async def interrupt(site: Site, request: web.Request) -> web.Response:
    id = (await read_object(request)).get("prompt_id")
    if id is not None and not isinstance(id, str):
        raise RequestError(400, "prompt_id: expected a string")
    site.worker.interrupt(id)
    return done()


@routes.add(
    "POST", "/free", "Drop cached outputs from memory, and the models they hold", body="json"
)
async def free(site: Site, request: web.Request) -> web.Response:
    body = await read_object(request)
    if body.get("unload_models") is True or body.get("free_memory") is True:
        await asyncio.to_thread(site.engine.cache.clear)
    return done()


@routes.add("GET", "/history", "Finished jobs, oldest first")
async def history(site: Site, request: web.Request) -> web.Response:
    limit = query_int(request, "max_items")
    offset = query_int(request, "offset", low=-1)

    def write() -> bytes:
        jobs = site.store.ended(limit, None if offset == -1 else offset)
        return json_object((job.id, entry(job)) for job in jobs)

    return answer_json(await site.pools.queue.run(write))


@routes.add("GET", "/history/{prompt_id}", "One finished job; empty until it has finished")
async def one_history(site: Site, request: web.Request) -> web.Response:
    job = await site.pools.queue.run(site.store.find, request.match_info["prompt_id"])
    ended = job is not None and job.state in ("completed", "failed", "cancelled")
    return answer({job.id: entry(job)} if job is not None and ended else {})


@routes.add("POST", "/history", "Delete finished jobs by id, or all of them", body="json")
async def change_history(site: Site, request: web.Request) -> web.Response:
    await _delete_or_clear(site, request, site.store.forget)
    return done()


async def _delete_or_clear(
    site: Site, request: web.Request, remove: Callable[[Collection[str] | None], object]
) -> None:
    """Remove the jobs that a body names under `delete`, and all of them for `clear`."""
    body = await read_object(request)
    ids = string_list(body.get("delete", []), "delete")
    if body.get("clear") is True:
        await site.pools.queue.run(remove, None)
    if ids:
        await site.pools.queue.run(remove, ids)


def item(job: QueuedJob) -> list[Any]:
    """Return a job in the shape of /queue."""
    return [job.number, job.id, job.prompt, job.extra, list(job.targets)]


def entry(job: QueuedJob) -> dict[str, Any]:
    """Return a finished job in the shape of /history."""
    record: Mapping[str, Any] = job.record if "status" in job.record else _without_run(job)
    return {"prompt": item(job), **record}


def _without_run(job: QueuedJob) -> dict[str, Any]:
    """Return the record of a job that ended without a run: cancelled while pending, or parked."""
    data: dict[str, Any] = {"prompt_id": job.id, "timestamp": job.created}
    data |= {"node_id": "", "node_type": "", "executed": []}
    event = "execution_interrupted"
    if "parked" in job.record:
        event = "execution_error"
        data |= {
            "exception_message": job.record["parked"], "exception_type": "Parked",
            "traceback": [], "current_inputs": {}, "current_outputs": [],
        }  # fmt: skip
    status = {"status_str": "error", "completed": False, "messages": [[event, data]]}
    return {"outputs": {}, "status": status, "meta": {}}
