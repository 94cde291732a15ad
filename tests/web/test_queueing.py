"""Prompts over HTTP: accepted, run, told of, remembered, refused."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from latentloom.engine.files.workspace import Workspace
from latentloom.web.client import Client, Event, RejectedError
from latentloom.web.prompts import accept
from tests.engine import fakes
from tests.web.serving import FAKES, Served, number, prompt, served


async def run(api: Served, graph: dict[str, Any]) -> list[Event]:
    job = await api.client.submit(graph)
    return [event async for event in api.client.follow(job)]


def named(events: list[Event], *without: str) -> list[str]:
    return [event.type for event in events if event.type not in without]


def test_a_prompt_runs_and_its_events_come_in_the_order_of_comfyui(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        events = await run(api, number(11))
        assert named(events, "status", "feature_flags") == [
            "execution_start", "execution_cached",
            "progress_state", "executing", "progress_state",
            "progress_state", "executing", "executed", "progress_state",
            "execution_success", "executing",
        ]  # fmt: skip
        assert events[-1].data["node"] is None
        again = await run(api, number(11))
        assert named(again, "status", "feature_flags") == [
            "execution_start", "execution_cached", "executed", "progress_state",
            "execution_success", "executing",
        ]  # fmt: skip
        assert set(again[1].data.get("nodes", again[2].data.get("nodes", []))) <= {"n", "w"}

    served(tmp_path, story)


def test_an_empty_queue_returns_memory_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[int] = []
    condition = threading.Condition()

    def release() -> None:
        with condition:
            released.append(len(fakes.calls))
            condition.notify_all()

    def wait_for(count: int) -> bool:
        with condition:
            return condition.wait_for(lambda: len(released) >= count, 50)

    monkeypatch.setattr("latentloom.web.worker.release_memory", release)

    async def story(api: Served) -> None:
        fakes.calls.clear()
        for count, value in enumerate((1, 2), 1):
            await run(api, number(value))
            assert await asyncio.to_thread(wait_for, count)
        await api.client.run(number(2))  # the queue is filled and emptied again
        assert await asyncio.to_thread(wait_for, 3)
        assert released == [2, 4, 4]

    served(tmp_path, story)


def test_a_node_that_turns_out_to_be_cached_is_reported(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        await run(api, number(5))
        added = {"class_type": "Add", "inputs": {"a": 2, "b": 3}}
        events = await run(api, {**number(5), "n": added})
        cached = [event.data["nodes"] for event in events if event.type == "execution_cached"]
        assert cached == [[], ["w"]]

    served(tmp_path, story)


@pytest.mark.parametrize(
    ("given", "used"), [("", None), ("my client", "my client"), (5, "5"), ("x" * 200, "x" * 128)]
)
def test_a_client_may_have_any_name(given: Any, used: str | None) -> None:
    body = {"prompt": number(6), "client_id": given}
    assert accept(body, FAKES, Workspace(), 0).job.client == used


def test_a_result_is_in_the_history_and_can_be_fetched(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        outcome = await api.client.run(number(12, folder="deep"))
        (file,) = outcome.files
        assert (file.filename, file.subfolder, file.type) == ("number_12.txt", "deep", "output")
        assert await api.client.fetch(file) == b"12"
        assert outcome.status == "success"
        _, entry = await api.get("/api/history?max_items=1")
        assert list(next(iter(entry.values()))) == ["prompt", "outputs", "status", "meta"]

    served(tmp_path, story)


def test_a_failing_node_is_named_and_the_next_prompt_runs(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        broken = prompt(b=("Break", {"a": 4}), s=("Show", {"value": ["b", 0]}))
        outcome = await api.client.run(broken)
        assert outcome.status == "error"
        error = next(event.data for event in outcome.events if event.type == "execution_error")
        assert (error["node_id"], error["node_type"]) == ("b", "Break")
        assert error["exception_message"] == "RuntimeError: broken by 4"
        assert not any("/" in line for line in error["traceback"])
        assert (await api.client.run(number(13))).status == "success"

    served(tmp_path, story)


def test_messages_go_to_the_client_that_asked_and_to_no_other(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        async with Client(api.url) as other:
            job = await other.submit(number(14))
            theirs = [event.type async for event in other.follow(job)]
        mine = await run(api, number(15))
        assert "execution_start" in theirs
        assert {event.data["prompt_id"] for event in mine if "prompt_id" in event.data} != {job}

    served(tmp_path, story)


def test_an_interrupted_prompt_ends_as_interrupted(tmp_path: Path) -> None:
    gate = fakes.gates["stop"] = threading.Event()
    waiting = prompt(
        w=("Wait", {"a": 1, "gate": "stop", "steps": 2}), s=("Show", {"value": ["w", 0]})
    )

    async def story(api: Served) -> None:
        job = await api.client.submit(waiting)
        async for event in api.client.follow(job):
            if event.type == "executing" and event.data["node"] == "w":
                await api.post("/interrupt", {"prompt_id": "another"})
                await api.post("/interrupt", {"prompt_id": job})
                gate.set()
        outcome = await api.client.outcome(job)
        assert outcome is not None
        assert [event.type for event in outcome.events][-1] == "execution_interrupted"
        assert outcome.events[-1].data["node_id"] == "w"

    served(tmp_path, story)


def test_waiting_jobs_are_listed_deleted_and_cleared(tmp_path: Path) -> None:
    gate = fakes.gates["hold"] = threading.Event()
    holding = prompt(w=("Wait", {"a": 1, "gate": "hold"}), s=("Show", {"value": ["w", 0]}))

    async def story(api: Served) -> None:
        first = await api.client.submit(holding)
        jobs = [await api.client.submit(number(value)) for value in range(3)]
        front = await api.client.submit(number(9), front=True)
        while not (await api.get("/queue"))[1]["queue_running"]:
            await asyncio.sleep(0.01)
        _, result = await api.get("/queue")
        assert [entry[1] for entry in result["queue_running"]] == [first]
        assert [entry[1] for entry in result["queue_pending"]] == [front, *jobs]
        await api.post("/queue", {"delete": [jobs[1], first, "nothing"]})
        assert (await api.get("/prompt"))[1]["exec_info"]["queue_remaining"] == 4
        await api.post("/queue", {"clear": True})
        assert (await api.get("/prompt"))[1]["exec_info"]["queue_remaining"] == 1
        gate.set()
        async for _ in api.client.follow(first):
            pass

    served(tmp_path, story)


@pytest.mark.parametrize(
    ("graph", "node", "kind", "port"),
    [
        (prompt(s=("Show", {})), "s", "required_input_missing", "value"),
        (prompt(s=("Show", {"value": "x"})), "s", "invalid_input_type", "value"),
        (prompt(s=("Show", {"value": ["gone", 0]})), "s", "exception_during_validation", "value"),
        (
            prompt(b=("Blend", {"a": 1, "weight": 2}), s=("WriteFloat", {"value": ["b", 0]})),
            "b", "value_bigger_than_max", "weight",
        ),
        (
            prompt(b=("Blend", {"a": 1, "weight": -2}), s=("WriteFloat", {"value": ["b", 0]})),
            "b", "value_smaller_than_min", "weight",
        ),
        (
            prompt(b=("Blend", {"a": 1, "mode": "odd"}), s=("WriteFloat", {"value": ["b", 0]})),
            "b", "value_not_in_list", "mode",
        ),
        (
            prompt(b=("Blend", {"a": 1}), s=("Show", {"value": ["b", 0]})),
            "s", "return_type_mismatch", "value",
        ),
        (
            prompt(l=("LoadImage", {"image": "../x"}), p=("PreviewImage", {"images": ["l", 0]})),
            "l", "custom_validation_failed", "image",
        ),
    ],
)  # fmt: skip
def test_a_wrong_input_is_told_in_the_shape_of_the_editor(
    graph: dict[str, Any], node: str, kind: str, port: str, tmp_path: Path
) -> None:
    async def story(api: Served) -> None:
        with pytest.raises(RejectedError) as refused:
            await api.client.submit(graph)
        assert refused.value.status == 400
        body = refused.value.body
        assert body["error"]["type"] == "prompt_outputs_failed_validation"
        (error,) = body["node_errors"][node]["errors"]
        assert error["type"] == kind
        assert error["extra_info"]["input_name"] == port
        assert body["node_errors"][node]["class_type"] == graph[node]["class_type"]
        assert len(body["node_errors"]) == 1

    served(tmp_path, story)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({}, "no_prompt"),
        ([], "no_prompt"),
        ({"prompt": {}}, "prompt_no_outputs"),
        ({"prompt": {"1": {"inputs": {}}}}, "invalid_prompt"),
        ({"prompt": {"1": {"class_type": "Show"}}}, "invalid_prompt"),
        ({"prompt": prompt(n=("Number", {}))}, "prompt_no_outputs"),
        ({"prompt": prompt(n=("Nowhere", {}))}, "missing_node_type"),
        ({"prompt": number(), "prompt_id": "x" * 129}, "invalid_prompt_id"),
        ({"prompt": number(), "prompt_id": True}, "invalid_prompt_id"),
        ({"prompt": number(), "prompt_id": ["x"]}, "invalid_prompt_id"),
        ({"prompt": number(), "number": "first"}, "invalid_prompt"),
        ({"prompt": number(), "extra_data": 3}, "invalid_prompt"),
        ({"prompt": number(), "partial_execution_targets": ["n"]}, "prompt_no_outputs"),
    ],
)
def test_what_is_no_prompt_is_refused_with_its_kind(body: Any, kind: str, tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        status, result = await api.post("/prompt", body)
        assert status == 400
        assert result["error"]["type"] == kind
        assert set(result["error"]) == {"type", "message", "details", "extra_info"}

    served(tmp_path, story)


@pytest.mark.parametrize("id", ["a/b", "my job", "%2F é ☃", "-", "a\nb", 7, "x" * 128])
def test_any_string_is_the_id_of_a_job(id: Any, tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        assert await api.client.submit(number(), id=id) == str(id)
        async for _ in api.client.follow(str(id)):
            pass
        assert await api.client.outcome(str(id)) is not None
        assert not await api.client.cancel(str(id))
        path = f"/api/jobs/{quote(str(id), safe='')}"
        assert (await api.get(path))[1]["id"] == str(id)

    served(tmp_path, story)


@pytest.mark.parametrize("id", [None, ""])
def test_a_job_without_an_id_is_given_one(id: Any, tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        ids = [
            (await api.post("/prompt", {"prompt": number(value), "prompt_id": id}))[1]["prompt_id"]
            for value in (1, 2)
        ]
        assert len({*ids, ""}) == 3

    served(tmp_path, story)


def test_every_node_of_a_cycle_is_named(tmp_path: Path) -> None:
    ring = prompt(
        a=("Add", {"a": ["b", 0]}), b=("Add", {"a": ["a", 0]}), s=("Show", {"value": ["b", 0]})
    )

    async def story(api: Served) -> None:
        status, result = await api.post("/prompt", {"prompt": ring})
        assert status == 400
        assert {id: entry["errors"][0]["type"] for id, entry in result["node_errors"].items()} == {
            "a": "dependency_cycle",
            "b": "dependency_cycle",
        }

    served(tmp_path, story)


def test_where_one_output_is_wrong_the_others_run(tmp_path: Path) -> None:
    graph = {**number(16), **prompt(bad=("Show", {"value": "x"}))}

    async def story(api: Served) -> None:
        status, result = await api.post("/prompt", {"prompt": graph, "client_id": api.client.id})
        assert status == 200
        assert list(result["node_errors"]) == ["bad"]
        assert result["node_errors"]["bad"]["dependent_outputs"] == ["bad"]
        async for _ in api.client.follow(result["prompt_id"]):
            pass
        outcome = await api.client.outcome(result["prompt_id"])
        assert outcome is not None
        assert [file.filename for file in outcome.files] == ["number_16.txt"]

    served(tmp_path, story)


def test_values_are_converted_as_comfyui_converts_them(tmp_path: Path) -> None:
    graph = prompt(
        n=("Number", {"value": "17"}), w=("Write", {"value": ["n", 0], "folder": 5, "button": ""})
    )

    async def story(api: Served) -> None:
        (file,) = (await api.client.run(graph)).files
        assert (file.filename, file.subfolder) == ("number_17.txt", "5")

    served(tmp_path, story)


def test_the_editors_own_file_is_no_prompt_and_is_told_apart(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        status, answer = await api.post("/prompt", {"prompt": {"nodes": [], "links": []}})
        assert (status, answer["error"]["type"]) == (400, "invalid_prompt")
        assert "an editor workflow" in answer["error"]["message"]

    served(tmp_path, story)


def test_the_id_that_a_client_chooses_is_used_once(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        id = "0f8fad5b-d9cb-469f-a165-70867728950e"
        assert await api.client.submit(number(1), id=id) == id
        with pytest.raises(RejectedError, match="already"):
            await api.client.submit(number(1), id=id)

    served(tmp_path, story)
