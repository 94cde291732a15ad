"""Jobs: pages, long answers, and another try."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentloom.engine.jobs.store import JobStore, QueuedJob
from latentloom.web import queueing
from tests.web.serving import Served, number, served


def done_job(store: JobStore, id: str, workflow: str, duration: int | None) -> None:
    """Store a job of a workflow that ran for a time, in ms; None if it was cancelled before."""
    extra = {"extra_pnginfo": {"workflow": {"id": workflow}}}
    store.submit(QueuedJob(id, number(1), ("w",), extra=extra))
    if duration is None:
        store.cancel(id, {"cancelled": True})
        return
    store.take()
    messages = [["execution_start", {"timestamp": 10**12}],
                ["execution_success", {"timestamp": 10**12 + duration}]]  # fmt: skip
    status = {"status_str": "success", "completed": True, "messages": messages}
    store.finish(id, "completed", {"outputs": {}, "status": status, "meta": {}})


def test_jobs_are_ordered_and_filtered_without_reading_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ids(api: Served, query: str) -> list[str]:
        _, result = await api.get(f"/api/jobs?{query}")
        return [job["id"] for job in result["jobs"]]

    async def story(api: Served) -> None:
        # The jobs are run by the test.
        assert api.site.worker.stop()
        for id, workflow, duration in [("a", "x", 30), ("b", "y", 10), ("c", "x", 20),
                                       ("d", "x", None)]:  # fmt: skip
            done_job(api.site.store, id, workflow, duration)
        monkeypatch.setattr(JobStore, "all", lambda _store: pytest.fail("all jobs were read"))
        assert await ids(api, "sort_by=execution_duration") == ["a", "c", "b", "d"]
        assert await ids(api, "sort_by=execution_duration&sort_order=asc") == ["d", "b", "c", "a"]
        assert await ids(api, "workflow_id=x") == ["d", "c", "a"]
        assert await ids(api, "workflow_id=x&limit=1&offset=1") == ["c"]
        assert await ids(api, "workflow_id=x&status=cancelled") == ["d"]
        assert await ids(api, "workflow_id=none") == []
        _, result = await api.get("/api/jobs?workflow_id=x&limit=1")
        assert result["pagination"] == {"offset": 0, "limit": 1, "total": 3, "has_more": True}

    served(tmp_path, story)


def test_the_history_and_the_queue_are_written_outside_of_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: set[str] = set()

    def noted(make: Callable[[QueuedJob], Any]) -> Callable[[QueuedJob], Any]:
        def call(job: QueuedJob) -> Any:
            names.add(threading.current_thread().name)
            return make(job)

        return call

    async def story(api: Served) -> None:
        assert api.site.worker.stop()
        for id in ("a", "b", "c"):
            done_job(api.site.store, id, "x", 1)
        api.site.store.submit(QueuedJob("d", number(1), ("w",)))
        monkeypatch.setattr(queueing, "entry", noted(queueing.entry))
        monkeypatch.setattr(queueing, "item", noted(queueing.item))
        _, history = await api.get("/history")
        assert list(history) == ["a", "b", "c"]
        _, queue = await api.get("/queue")
        assert [entry[1] for entry in queue["queue_pending"]] == ["d"]
        assert names
        assert all(name.startswith("latentloom-queue") for name in names)

    served(tmp_path, story)


def test_a_job_that_failed_is_queued_again_on_request(tmp_path: Path) -> None:
    store = JobStore(tmp_path / ".latentloom" / "queue.sqlite")
    store.submit(QueuedJob("parked", number(3), ("w",)))
    for _ in range(2):
        assert store.take() is not None
        store.close()
        store = JobStore(tmp_path / ".latentloom" / "queue.sqlite")
    assert store.parked == ("parked",)
    store.close()

    async def story(api: Served) -> None:
        _, job = await api.get("/api/jobs/parked")
        assert job["status"] == "failed"
        assert "/retry" in job["execution_error"]["exception_message"]
        assert (await api.post("/api/jobs/parked/retry"))[0] == 200
        while (await api.get("/api/jobs/parked"))[1]["status"] != "completed":
            await asyncio.sleep(0.01)
        assert (await api.post("/api/jobs/parked/retry"))[0] == 404
        assert (await api.post("/api/jobs/nothing/retry"))[0] == 404

    served(tmp_path, story)


def test_the_queue_is_counted_outside_of_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []
    remaining = JobStore.remaining

    def noted(store: JobStore) -> int:
        threads.append(threading.current_thread())
        return remaining(store)

    monkeypatch.setattr(JobStore, "remaining", noted)

    async def story(api: Served) -> None:
        async with api.session.ws_connect(f"{api.url}/ws?clientId=a") as socket:
            assert (await socket.receive_json())["data"]["sid"] == "a"
            assert (await api.get("/prompt"))[0] == 200
            body = {"prompt": number(1), "prompt_id": "job"}
            assert (await api.post("/prompt", body))[0] == 200
            assert (await api.post("/queue", {"clear": True}))[0] == 200
            assert (await api.post("/api/jobs/job/cancel"))[0] == 200
        assert len(threads) >= 4
        assert threading.current_thread() not in threads

    served(tmp_path, story)
