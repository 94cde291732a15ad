"""Routes of jobs: the editor's queue, history and results panels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from latentloom.engine.jobs.store import QueuedJob, State

from .queueing import entry
from .routes import RequestError, Routes, answer, done, query_int, read_object, string_list
from .site import Site

routes = Routes()
STATES: tuple[State, ...] = ("pending", "running", "completed", "failed", "cancelled")
STATUS: Mapping[str, str] = {"running": "in_progress"}
STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")
SORTS = ("created_at", "execution_duration")
MAX_LISTED = 1000
MAX_TEXT = 1024


@routes.add("GET", "/jobs", "Jobs in any state, newest first")
async def jobs(site: Site, request: web.Request) -> web.Response:
    query = request.query
    statuses = [status for status in query.get("status", "").split(",") if status]
    for status in statuses:
        if status not in STATUSES:
            raise RequestError(
                400, f"status: expected a list of {', '.join(STATUSES)}, got {status[:40]!r}"
            )
    sort, order = query.get("sort_by", SORTS[0]), query.get("sort_order", "desc")
    if sort not in SORTS or order not in ("asc", "desc"):
        raise RequestError(
            400, f"expected sort_by {' or '.join(SORTS)}, and sort_order asc or desc"
        )
    limit = query_int(request, "limit", low=1, high=MAX_LISTED) or MAX_LISTED
    offset = query_int(request, "offset") or 0
    page = Page(statuses or list(STATUSES), sort, order == "desc", limit, offset)
    listed_jobs, total = await site.pools.queue.run(
        _read_page, site, page, query.get("workflow_id", "")
    )
    pagination = {"offset": offset, "limit": limit, "total": total}
    return answer(
        {
            "jobs": listed_jobs,
            "pagination": {**pagination, "has_more": offset + len(listed_jobs) < total},
        }
    )


@dataclass(frozen=True)
class Page:
    """The jobs that a request asks for."""

    statuses: list[str]
    sort: str
    descending: bool
    limit: int
    offset: int


def _read_page(site: Site, page: Page, workflow: str) -> tuple[list[dict[str, Any]], int]:
    """Return the jobs of a page and the total number of jobs."""
    states = [state for state in STATES if STATUS.get(state, state) in page.statuses]
    by_duration = page.sort != SORTS[0]
    jobs, total = site.store.page(
        states, page.limit, page.offset, page.descending, workflow, by_duration
    )
    return [summary(job) for job in jobs], total


@routes.add("GET", "/jobs/{id}", "One job, with its workflow and outputs")
async def one_job(site: Site, request: web.Request) -> web.Response:
    job = await site.pools.queue.run(site.store.find, request.match_info["id"])
    if job is None:
        raise RequestError(404, "Job not found")
    details = summary(job)
    details["workflow"] = {"prompt": job.prompt, "extra_data": job.extra}
    if details["status"] not in ("pending", "in_progress"):
        past = entry(job)
        details |= {"outputs": past["outputs"], "execution_status": past["status"]}
    return answer(details)


@routes.add("POST", "/jobs/cancel", "Cancel pending or running jobs", body="json")
async def cancel_jobs(site: Site, request: web.Request) -> web.Response:
    body = await read_object(request)
    ids = string_list(body.get("job_ids"), "job_ids")
    cancelled = [await _cancel(site, id) for id in ids]
    return answer({"cancelled": any(cancelled)})


@routes.add("POST", "/jobs/{id}/cancel", "Cancel a pending or running job")
async def cancel_job(site: Site, request: web.Request) -> web.Response:
    return answer({"cancelled": await _cancel(site, request.match_info["id"])})


@routes.add("POST", "/jobs/{id}/retry", "Queue a job again that failed or was cancelled")
async def retry_job(site: Site, request: web.Request) -> web.Response:
    if not await site.pools.queue.run(site.store.retry, request.match_info["id"]):
        raise RequestError(404, "expected a job that failed or was cancelled")
    site.worker.wake()
    await site.pools.queue.run(site.hub.status)
    return done()


async def _cancel(site: Site, id: str) -> bool:
    if await site.pools.queue.run(site.store.cancel, id, {"cancelled": True}):
        await site.pools.queue.run(site.hub.status)
        return True
    return site.worker.interrupt(id)


def summary(job: QueuedJob) -> dict[str, Any]:
    """Return a job as the editor's panels list it."""
    details: dict[str, Any] = {
        "id": job.id,
        "status": STATUS.get(job.state, job.state),
        "priority": job.number,
        "create_time": job.created,
    }
    workflow = _workflow_id(job.extra)
    if workflow:
        details["workflow_id"] = workflow
    if job.state in ("pending", "running"):
        return details
    past = entry(job)
    times = {name: data["timestamp"] for name, data in past["status"]["messages"]}
    errors = [data for name, data in past["status"]["messages"] if name == "execution_error"]
    if "execution_start" in times:
        details["execution_start_time"] = times["execution_start"]
    details["execution_end_time"] = max(times.values(), default=job.created)
    if errors:
        details["execution_error"] = errors[0]
    return details | _outputs(past["outputs"])


def _outputs(outputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the number of files a job saved and its preview: saved images first, text last."""
    items = [
        {**item, "nodeId": id, "mediaType": kind}
        for id, output in outputs.items()
        for kind, files in output.items()
        for item in files
        if isinstance(item, Mapping)
    ]
    previews = [item for item in items if item["mediaType"] == "images"]
    previews.sort(key=lambda item: item["type"] != "output")
    previews += [_text(id, output) for id, output in outputs.items() if output.get("text")]
    counts: dict[str, Any] = {
        "outputs_count": len(items), "previewable_outputs_count": len(previews),
    }  # fmt: skip
    return {**counts, "preview_output": previews[0]} if previews else counts


def _text(id: str, output: Mapping[str, Any]) -> dict[str, Any]:
    """Return the string that a node shows, with the file that holds it, if any."""
    no_file = {"filename": "", "subfolder": "", "type": "output"}
    file = next(iter(output.get("files", ())), no_file)
    content = "\n".join(output["text"])[:MAX_TEXT]
    return {**file, "nodeId": id, "mediaType": "text", "content": content}


def _workflow_id(extra: Mapping[str, Any]) -> str:
    info = extra.get("extra_pnginfo")
    workflow = info.get("workflow") if isinstance(info, Mapping) else None
    id = workflow.get("id") if isinstance(workflow, Mapping) else None
    return id if isinstance(id, str) else ""
