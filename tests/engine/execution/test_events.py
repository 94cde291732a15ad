"""Events of a run in order, and cancelling it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from latentloom.engine.execution.events import (
    AnyEvent,
    Closed,
    Failed,
    Finished,
    NodeEvent,
    Preview,
    Progress,
    Reused,
    Started,
    Stopped,
)
from latentloom.engine.execution.executor import Engine
from latentloom.engine.execution.reasons import Unchanged
from latentloom.engine.node.cancel import CancelToken
from tests.engine import fakes
from tests.engine.fakes import FORK, PASSES, graph, until


def test_events_come_in_order_and_end_with_closed(engine: Engine) -> None:
    events: list[AnyEvent] = []
    engine.run(graph(n=("Number", {}), show=("Show", {"value": "$n.INT"})), on_event=events.append)
    assert [type(event) for event in events] == [Started, Finished, Started, Finished, Closed]
    assert [event.node for event in events if isinstance(event, NodeEvent)] == [
        "n",
        "n",
        "show",
        "show",
    ]
    events.clear()
    engine.run(graph(n=("Number", {}), show=("Show", {"value": "$n.INT"})), on_event=events.append)
    assert events == [Reused("show", "memory", Unchanged()), Closed("done")]


def test_progress_and_previews_arrive_in_the_calling_thread(engine: Engine) -> None:
    fakes.gates["gate"] = threading.Event()
    fakes.gates["gate"].set()
    seen: list[tuple[AnyEvent, int]] = []
    engine.run(
        graph(w=("Wait", {"a": 1, "steps": 2})),
        targets=["w"],
        on_event=lambda event: seen.append((event, threading.get_ident())),
    )
    progress = [event for event, _ in seen if isinstance(event, Progress | Preview)]
    assert progress == [
        Progress("w", 1, 2),
        Preview("w", ("image", 0)),
        Progress("w", 2, 2),
        Preview("w", ("image", 1)),
    ]
    assert {thread for _, thread in seen} == {threading.get_ident()}


def test_a_failure_is_an_event(engine: Engine) -> None:
    events: list[AnyEvent] = []
    engine.run(FORK, on_event=events.append)
    assert [event.node for event in events if isinstance(event, Failed)] == ["bad"]
    assert events[-1] == Closed("failed")


def test_an_error_of_the_consumer_ends_the_run_and_is_raised(engine: Engine) -> None:
    def angry(_event: AnyEvent) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        engine.run(PASSES, on_event=angry)
    assert engine.run(PASSES).status == "done"


def test_a_cancel_stops_within_a_step(engine: Engine, calls: list[str]) -> None:
    token, events = CancelToken(), list[AnyEvent]()
    long = graph(w=("Wait", {"a": 1, "steps": 1000}), show=("Show", {"value": "$w.INT"}))
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(engine.run, long, on_event=events.append, cancel=token)
        until(lambda: len(calls) == 1)
        token.cancel()
        fakes.gates["gate"].set()
        result = run.result()
    assert calls == ["Wait 1 step 0"]
    assert (result.status, result.model_calls) == ("cancelled", 1)
    assert events[-2:] == [Stopped("w"), Closed("cancelled")]
    assert result.nodes["show"].state == "skipped"


def test_after_a_cancel_finished_outputs_stay_cached(engine: Engine, calls: list[str]) -> None:
    token = CancelToken()

    def stop(event: AnyEvent) -> None:
        if isinstance(event, Finished) and event.node == "pass1":
            token.cancel()

    assert engine.run(PASSES, on_event=stop, cancel=token).status == "cancelled"
    calls.clear()
    engine.run(PASSES)
    assert calls == ["Add 13 20", "Show 33"]


def test_a_cancel_of_one_run_leaves_the_other(engine: Engine, calls: list[str]) -> None:
    token = CancelToken()
    slow = graph(w=("Wait", {"a": 5}), show=("Show", {"value": "$w.INT"}))
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(engine.run, slow, cancel=token)
        until(lambda: len(calls) == 1)
        follower = pool.submit(engine.run, slow)
        time.sleep(0.02)
        token.cancel()
        fakes.gates["gate"].set()
        assert leader.result().status == "cancelled"
        assert follower.result()["show"] == 5


def test_a_queued_device_node_is_not_called_after_a_cancel(
    engine: Engine, calls: list[str]
) -> None:
    token, events = CancelToken(), list[AnyEvent]()
    pair = graph(
        a=("Wait", {"a": 1}),
        b=("Wait", {"a": 2}),
        x=("Show", {"value": "$a.INT"}),
        y=("Show", {"value": "$b.INT"}),
    )
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(engine.run, pair, on_event=events.append, cancel=token)
        until(lambda: len(calls) == 1)
        token.cancel()
        fakes.gates["gate"].set()
        assert run.result().status == "cancelled"
    assert calls == ["Wait 1 step 0"]
    assert [event.node for event in events if isinstance(event, Started)] == ["a"]
