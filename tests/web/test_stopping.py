"""Stopping: nothing new is begun, and what does not end is not waited for long."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from latentloom.web import app, worker
from latentloom.web.pools import GRAPHS_AT_ONCE
from tests.web.serving import Served, serving


def test_a_stop_takes_less_than_five_seconds() -> None:
    # The second is for ending the process.
    assert worker.GRACE_S + app.CLOSE_S <= 4


def test_calls_that_wait_are_dropped_and_further_requests_refused(tmp_path: Path) -> None:
    begun: list[int] = []
    gate = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        gate.wait(60)

    async def story() -> None:
        async with serving(tmp_path) as api:
            pool = api.site.pools.graphs
            calls = [asyncio.create_task(pool.run(work, number)) for number in range(6)]
            while len(begun) < GRAPHS_AT_ONCE:
                await asyncio.sleep(0)
            await api.app.shutdown()
            assert (await api.get("/history"))[0] == 503
            gate.set()
            await asyncio.gather(*calls, return_exceptions=True)
        assert sorted(begun) == list(range(GRAPHS_AT_ONCE))

    asyncio.run(story())


def test_results_that_cannot_be_written_in_time_do_not_hold_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = threading.Event()
    monkeypatch.setattr(app, "CLOSE_S", 0.01)

    async def story() -> Served:
        async with serving(tmp_path) as api:
            monkeypatch.setattr(api.site.engine, "close", lambda: disk.wait(60))
        return api

    try:
        assert asyncio.run(story()).site.stuck
    finally:
        disk.set()
