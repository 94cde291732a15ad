"""The routes around a run: jobs, files, what a user keeps, models, templates, descriptions."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest

from latentloom.engine.formats import load_graph
from latentloom.engine.graph.library import graphs_dir
from latentloom.engine.jobs.store import JobStore, QueuedJob
from latentloom.engine.node.registry import Registry
from latentloom.web.app import all_routes
from latentloom.web.models import read_metadata
from tests.engine import fakes
from tests.web.serving import Served, number, prompt, served
from tests.web.test_files import image, open_image

REGISTRY = Registry.from_package("latentloom.nodes")
GRAPHS = sorted(path.stem for path in (graphs_dir() or Path()).glob("*.yaml"))


# Jobs


def test_jobs_are_listed_by_state_with_what_they_made(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        await api.client.run(number(1))
        broken = prompt(b=("Break", {"a": 4}), s=("Show", {"value": ["b", 0]}))
        await api.client.run(broken)
        _, result = await api.get("/api/jobs?status=completed,failed&limit=10&offset=0")
        assert result["pagination"] == {"offset": 0, "limit": 10, "total": 2, "has_more": False}
        failed, completed = result["jobs"]
        shown = {"filename": "number_1.txt", "subfolder": "", "type": "output"}
        shown |= {"nodeId": "w", "mediaType": "text", "content": "wrote 1"}
        assert completed["preview_output"] == shown
        assert completed["outputs_count"] == completed["previewable_outputs_count"] == 1
        assert failed["execution_error"]["node_id"] == "b"
        assert failed["execution_end_time"] >= failed["execution_start_time"]
        _, job = await api.get(f"/api/jobs/{completed['id']}")
        assert job["workflow"]["prompt"] == number(1)
        assert job["execution_status"]["completed"] is True
        assert (await api.get("/api/jobs?status=odd"))[0] == 400
        assert (await api.get("/api/jobs?limit=x"))[0] == 400
        assert (await api.get("/api/jobs/nothing"))[0] == 404

    served(tmp_path, story)


@pytest.mark.torch
@pytest.mark.parametrize("cached", [False, True])
def test_images_files_and_texts_are_told_by_their_own_keys(tmp_path: Path, cached: bool) -> None:
    graph = prompt(
        e=("EmptyImage", {"width": 16, "height": 16, "batch_size": 1, "color": 7}),
        s=("SaveImage", {"images": ["e", 0], "filename_prefix": "two/kinds"}),
        n=("Number", {"value": 33}),
        w=("Write", {"value": ["n", 0]}),
    )

    async def story(api: Served) -> None:
        if cached:
            await api.client.run(graph)
        outcome = await api.client.run(graph)
        _, history = await api.get("/history?max_items=1")
        outputs = next(iter(history.values()))["outputs"]
        image = {"filename": "kinds_00001_.png", "subfolder": "two", "type": "output"}
        file = {"filename": "number_33.txt", "subfolder": "", "type": "output"}
        assert outputs == {"s": {"images": [image]}, "w": {"files": [file], "text": ["wrote 33"]}}
        assert {file.filename for file in outcome.files} == {"kinds_00001_.png", "number_33.txt"}
        assert outcome.texts == ("wrote 33",)
        _, jobs = await api.get("/api/jobs?limit=1")
        first = jobs["jobs"][0]["preview_output"]
        assert first == {**image, "nodeId": "s", "mediaType": "images"}
        assert jobs["jobs"][0]["outputs_count"] == 2

    served(tmp_path, story)


def test_a_job_is_cancelled_whether_it_waits_or_runs_and_only_once(tmp_path: Path) -> None:
    fakes.gates["c"] = threading.Event()
    holding = prompt(w=("Wait", {"a": 1, "gate": "c", "steps": 2}), s=("Show", {"value": ["w", 0]}))

    async def story(api: Served) -> None:
        running, waiting = await api.client.submit(holding), await api.client.submit(number(5))
        while (await api.get(f"/api/jobs/{running}"))[1]["status"] != "in_progress":
            await asyncio.sleep(0.01)
        assert await api.client.cancel(waiting)
        assert not await api.client.cancel(waiting)
        assert await api.client.cancel(running)
        fakes.gates["c"].set()
        async for _ in api.client.follow(running):
            pass
        assert not await api.client.cancel(running)
        _, result = await api.get("/api/jobs?status=cancelled")
        assert {job["id"] for job in result["jobs"]} == {running, waiting}

    served(tmp_path, story)


def test_a_data_folder_of_an_older_server_opens_with_its_history(tmp_path: Path) -> None:
    store = JobStore(tmp_path / ".latentloom" / "queue.sqlite")
    old = QueuedJob("old", number(1), ("w",), extra={"create_time": 5})
    store.submit(old)
    store.take()
    item = {"filename": "number_1.txt", "subfolder": "", "type": "output"}
    messages = [["execution_start", {"timestamp": 6}], ["execution_success", {"timestamp": 7}]]
    status = {"status_str": "success", "completed": True, "messages": messages}
    record = {"outputs": {"w": {"images": [item]}}, "status": status, "meta": {}}
    store.finish("old", "completed", record)
    store.close()
    (tmp_path / "user" / "default").mkdir(parents=True)
    (tmp_path / "user" / "default" / "comfy.settings.json").write_text('{"a": 1}')

    async def story(api: Served) -> None:
        _, history = await api.get("/history")
        assert history["old"]["outputs"] == record["outputs"]
        _, result = await api.get("/api/jobs?limit=5")
        assert result["jobs"][0]["preview_output"]["filename"] == "number_1.txt"
        assert result["jobs"][0]["execution_end_time"] == 7
        assert await api.get("/settings") == (200, {"a": 1})
        assert (await api.client.run(number(2))).status == "success"

    served(tmp_path, story)


def test_a_cancel_that_races_with_the_run_touches_its_own_job_only(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        for value in range(60):
            mine = await api.client.submit(number(100 + value))
            other = await api.client.submit(number(1000 + value))
            cancelled = await api.client.cancel(mine)
            while (await api.get("/prompt"))[1]["exec_info"]["queue_remaining"]:
                await asyncio.sleep(0.002)
            _, job = await api.get(f"/api/jobs/{mine}")
            assert job["status"] in ("completed", "cancelled")
            assert cancelled or job["status"] == "completed"
            assert (await api.get(f"/api/jobs/{other}"))[1]["status"] == "completed"

    served(tmp_path, story)


# What a user keeps


def test_a_workflow_is_saved_listed_moved_and_deleted(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        file = "/api/userdata/workflows%2Fa.json"
        status, result = await api.post(f"{file}?overwrite=false&full_info=true", {"v": 1})
        assert (status, result["path"]) == (200, "workflows/a.json")
        assert (await api.post(f"{file}?overwrite=false", {"v": 2}))[0] == 409
        assert await api.post(f"{file}?overwrite=true", {"v": 3}) == (200, "workflows/a.json")
        assert await api.get(file) == (200, {"v": 3})
        _, listed = await api.get("/api/userdata?dir=workflows&recurse=true&full_info=true")
        assert [entry["path"] for entry in listed] == ["a.json"]
        assert await api.get("/userdata?dir=workflows&split=true") == (200, [["a.json", "a.json"]])
        moved = f"{file}/move/workflows%2Fb%2Fc.json"
        assert await api.post(moved) == (200, "workflows/b/c.json")
        assert (await api.post(moved))[0] == 404
        _, entries = await api.get("/v2/userdata?path=workflows")
        assert [(entry["name"], entry["type"]) for entry in entries] == [("b", "directory")]
        assert (await api.ask("DELETE", "/userdata/workflows%2Fb%2Fc.json"))[0] == 204
        assert (await api.get("/userdata/workflows%2Fb%2Fc.json"))[0] == 404
        assert (await api.get("/userdata?dir=nowhere"))[0] == 404
        assert (await api.get("/userdata"))[0] == 400

    served(tmp_path, story)


def test_a_user_file_that_is_a_page_is_not_shown_as_one(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        await api.ask("POST", "/userdata/page.svg", data=b"<svg onload='alert(1)'/>")
        async with api.session.get(f"{api.url}/userdata/page.svg") as response:
            assert response.content_type == "application/octet-stream"
            assert response.headers["Content-Disposition"] == "attachment"

    served(tmp_path, story)


def test_settings_are_merged_and_kept(tmp_path: Path) -> None:
    async def change(api: Served) -> None:
        assert (await api.ask("POST", "/settings/A.B", data=b'"x"'))[0] == 200
        await api.post("/settings", {"C": [1, 2]})
        assert (await api.post("/settings", [1]))[0] == 400

    async def read(api: Served) -> None:
        assert await api.get("/settings") == (200, {"A.B": "x", "C": [1, 2]})
        assert await api.get("/settings/A.B") == (200, "x")
        assert await api.get("/settings/none") == (200, None)

    served(tmp_path, change)
    served(tmp_path, read)


# What is installed


def test_models_are_listed_as_their_loaders_list_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "embeddings").mkdir(parents=True)
    (tmp_path / "models" / "embeddings" / "fox.pt").write_bytes(b"never opened")
    monkeypatch.setenv("LATENTLOOM_MODELS", str(tmp_path / "models"))

    async def story(api: Served) -> None:
        assert "demo" in (await api.get("/models/checkpoints"))[1]
        assert "loras" in (await api.get("/models"))[1]
        assert (await api.get("/models/secrets"))[0] == 404
        _, result = await api.get("/experiment/models/checkpoints")
        demo = next(entry for entry in result if entry["name"] == "demo")
        assert set(demo) == {"name", "pathIndex", "modified", "created", "size"}
        assert (await api.get("/embeddings"))[1] == ["fox"]
        assert (await api.get("/view_metadata/checkpoints?filename=../x"))[0] == 404

    served(tmp_path, story, REGISTRY)


def test_the_metadata_of_a_safetensors_file_is_read_and_a_lying_header_is_not(
    tmp_path: Path,
) -> None:
    header = json.dumps({"__metadata__": {"title": "x"}}).encode()
    good, lying = tmp_path / "good.safetensors", tmp_path / "lying.safetensors"
    good.write_bytes(len(header).to_bytes(8, "little") + header)
    lying.write_bytes((2**63).to_bytes(8, "little") + header)
    assert read_metadata(good) == {"title": "x"}
    assert read_metadata(lying) is None


@pytest.mark.parametrize("name", GRAPHS)
def test_each_template_opens_as_the_graph_that_it_is(name: str, tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        _, workflow = await api.get(f"/templates/{name}.json")
        graph = load_graph((graphs_dir() or Path()) / f"{name}.yaml", REGISTRY).bound()
        assert sorted(node["type"] for node in workflow["nodes"]) == sorted(
            node.type for node in graph.nodes.values()
        )
        by_id = {node["id"]: node for node in workflow["nodes"]}
        for link, origin, slot, target, path, type in workflow["links"]:
            assert link in by_id[origin]["outputs"][slot]["links"]
            assert any(socket["link"] == link for socket in by_id[target]["inputs"])
            assert type
            assert path >= 0
        links = sum(1 for node in graph.nodes.values() for _ in node.links())
        assert len(workflow["links"]) == links

    served(tmp_path, story, REGISTRY)


def test_templates_are_listed_with_img2img_first_and_its_image(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        _, (group,) = await api.get("/templates/index.json")
        names = [entry["name"] for entry in group["templates"]]
        assert names[0] == "img2img"
        assert sorted(names) == GRAPHS
        image = (graphs_dir() or Path()) / "thumbnails" / "img2img.webp"
        assert await api.get("/templates/img2img-1.webp") == (200, image.read_bytes())
        assert (await api.get("/templates/..%2Fpyproject.json"))[0] == 404

    served(tmp_path, story, REGISTRY)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_template_shows_what_it_makes_and_under_the_mouse_what_from(
    name: str, tmp_path: Path
) -> None:
    async def story(api: Served) -> None:
        _, (group,) = await api.get("/templates/index.json")
        entry = next(entry for entry in group["templates"] if entry["name"] == name)
        status, data = await api.get(f"/templates/{name}-1.webp")
        assert (status, open_image(data).format) == (200, "WEBP")
        status, data = await api.get(f"/templates/{name}-2.webp")
        assert (status == 200) == ("thumbnailVariant" in entry)
        assert status == 404 or open_image(data).format == "WEBP"

    served(tmp_path, story, REGISTRY)


def test_object_info_has_comfyui_s_shape(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        _, result = await api.get("/object_info/KSampler")
        sampler = result["KSampler"]
        assert sampler["input_order"]["required"] == [
            "model", "seed", "steps", "cfg", "sampler_name", "scheduler", "positive", "negative",
            "latent_image", "denoise",
        ]  # fmt: skip
        seed = sampler["input"]["required"]["seed"]
        assert seed[0] == "INT"
        assert (seed[1]["max"], seed[1]["control_after_generate"]) == (2**64 - 1, True)
        assert sampler["output"] == sampler["output_name"] == ["LATENT"]
        await api.client.upload("mine.png", image())
        # The editor marks nodes of other modules as unknown.
        assert sampler["python_module"] == "nodes.sampling"
        _, loader = await api.get("/object_info/LoadImage")
        names, options = loader["LoadImage"]["input"]["required"]["image"]
        assert names[0] == "mine.png"
        assert "inputs/house.png" in names
        assert options["image_upload"] is True
        _, every = await api.get("/api/object_info")
        assert "Note" not in every
        assert await api.get("/object_info/Nothing") == (200, {})

    served(tmp_path, story, REGISTRY)


def test_a_plan_says_what_runs_and_why_before_it_runs(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        await api.client.run(number(21))
        _, same = await api.post("/latentloom/plan", {"prompt": number(21)})
        assert same["nodes"]["w"]["action"] == "reuse"
        _, other = await api.post("/latentloom/plan", {"prompt": number(22)})
        assert other["nodes"]["n"] == {
            "action": "run",
            "why": "value 21 -> 22",
            "reason": {"kind": "changed", "input": "value", "before": "21", "after": "22"},
        }
        _, broken = await api.post("/latentloom/plan", {"prompt": prompt(s=("Show", {}))})
        assert broken["nodes"] == {}
        assert "Show (s) .value" in broken["problems"][0]
        spare = {**number(21), **prompt(x=("Number", {"value": 9}))}
        _, advised = await api.post("/latentloom/plan", {"prompt": spare})
        (warning,) = advised["warnings"]
        assert (warning["rule"], warning["node"]) == ("unused", "x")
        assert same["warnings"] == broken["warnings"] == []

    served(tmp_path, story)


def test_the_schema_of_native_files_is_served(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        _, schema = await api.get("/latentloom.schema.json")
        assert "node Number" in schema["$defs"]

    served(tmp_path, story)


def test_the_description_lists_every_route(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        _, result = await api.get("/openapi.json")
        described = {
            (method.upper(), path) for path, item in result["paths"].items() for method in item
        }
        assert len(described) == len(all_routes())
        assert ("POST", "/userdata/{file}/move/{dest}") in described

    served(tmp_path, story)


@pytest.mark.parametrize(
    "path",
    ["/users", "/features", "/system_stats", "/i18n", "/extensions", "/internal/logs",
     "/internal/logs/raw", "/internal/files/input", "/internal/folder_paths", "/global_subgraphs",
     "/workflow_templates", "/node_replacements", "/experiment/models"],
)  # fmt: skip
def test_what_the_editor_asks_for_is_json_bare_and_under_api(path: str, tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        bare, aliased = await api.get(path), await api.get(f"/api{path}")
        assert bare[0] == aliased[0] == 200
        assert isinstance(bare[1], dict | list | str)

    served(tmp_path, story)


def test_renamed_inputs_are_listed_as_replacements(tmp_path: Path) -> None:
    async def story(api: Served) -> None:
        _, features = await api.get("/features")
        assert features["node_replacements"] is True
        _, replacements = await api.get("/node_replacements")
        assert replacements == {
            "Scale": [
                {
                    "new_node_id": "Scale",
                    "old_node_id": "Scale",
                    "old_widget_ids": ["a", "amount"],
                    "input_mapping": [
                        {"new_id": "a", "old_id": "a"},
                        {"new_id": "times", "old_id": "amount"},
                    ],
                }
            ]
        }

    served(tmp_path, story)
