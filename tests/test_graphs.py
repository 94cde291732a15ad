"""Every shipped graph is checked, planned and run on the demo model, and does what it teaches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import latentloom
from latentloom import Engine, Graph, Result
from latentloom.engine.execution.replay import TOLERANCE_LEVELS, replay
from tests.paths import ROOT

GRAPHS = sorted((ROOT / "graphs").glob("*.yaml"))
NAMES = [path.stem for path in GRAPHS]


@pytest.fixture(scope="module")
def engine() -> Any:
    with Engine(latentloom.registry()) as made:
        yield made


@pytest.fixture
def run(engine: Engine, tmp_path: Path) -> Any:
    def run_graph(graph: Graph, targets: list[str] | None = None) -> Result:
        return engine.run(graph, latentloom.workspace(graph, output_dir=tmp_path), targets)

    return run_graph


def distance(a: Tensor, b: Tensor) -> float:
    """Root mean square difference of two images, in 0..255."""
    return float(((a - b) ** 2).mean() ** 0.5) * 255


def test_the_graphs_of_the_issue_are_there() -> None:
    assert set(NAMES) >= {
        "txt2img", "img2img", "multi_pass", "progressive", "upscale_refine", "inpaint",
        "inpaint_exact", "inpaint_crop", "outpaint", "inpaint_passes",
        "tiled_upscale", "detail_pass", "variations", "batch_folder",
        "regional_denoise",
    }  # fmt: skip


@pytest.mark.parametrize("path", GRAPHS, ids=NAMES)
def test_a_graph_says_what_it_teaches_and_has_no_problems(path: Path) -> None:
    graph = latentloom.load(path)
    assert path.read_text().startswith("# ")
    assert graph.title
    assert latentloom.check(graph) == ()


@pytest.mark.parametrize("path", GRAPHS, ids=NAMES)
def test_a_graph_runs_and_saves_an_image(path: Path, run: Any, tmp_path: Path) -> None:
    result = run(latentloom.load(path))
    assert result.status == "done"
    file = dict(result.saved)["save"]
    assert file.is_relative_to(tmp_path)
    assert file.stat().st_size > 1000


REPLAYED = [
    pytest.param(name, marks=[] if name == "inpaint" else [pytest.mark.slow]) for name in NAMES
]


@pytest.mark.parametrize("name", REPLAYED)
def test_an_image_is_made_again_with_the_same_bytes(name: str, run: Any) -> None:
    """Without a cache, in an engine of its own; the test above made it with the other graphs'."""
    graph = latentloom.load(name)
    image = dict(run(graph).saved)["save"]
    assert replay(image, latentloom.registry(), latentloom.workspace(graph)).status == "same_file"


OTHER_MACHINE = {
    "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "OMP_NUM_THREADS": "2",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["multi_pass", "controlnet_img2img"])
def test_another_processor_and_more_threads_stay_within_the_tolerance(name: str, run: Any) -> None:
    image = dict(run(latentloom.load(name)).saved)["save"]
    done = subprocess.run(
        [sys.executable, "-m", "latentloom", "replay", str(image), "--json"],
        env={**os.environ, **OTHER_MACHINE}, check=False, capture_output=True, text=True,
    )  # fmt: skip
    outcome = json.loads(done.stdout)
    assert (done.returncode, outcome["status"] in ("same_image", "near")) == (0, True), outcome
    assert outcome["max_levels"] <= TOLERANCE_LEVELS
    assert "threads" in [item["subject"] for item in outcome["differences"]]


@pytest.mark.parametrize("name", ["txt2img", "inpaint"])
def test_a_saved_image_holds_its_graph(name: str, run: Any) -> None:
    first = run(latentloom.load(name))
    again = run(latentloom.load(first.saved[0][1]))
    assert again.saved == first.saved
    assert again.nodes["save"].state == "reused"


def test_more_denoise_moves_further_from_the_source(run: Any) -> None:
    graph = latentloom.load("img2img")
    source = run(graph, ["photo"])["photo"].IMAGE
    distances = []
    for denoise in (0.2, 0.5, 0.8):
        changed = [
            graph.set_input("denoise", denoise).set_input("seed", seed) for seed in (1, 2, 3)
        ]
        images = [run(item, ["decode"])["decode"] for item in changed]
        distances.append(sum(distance(image, source) for image in images))
    assert distances == sorted(distances)
    assert distances[0] < 0.6 * distances[2]


def test_the_prompted_colours_appear(run: Any) -> None:
    graph = latentloom.load("txt2img")
    prompt = "a big {} square in the center on a {} background, flat style"
    reds = run(graph.set_input("prompt", prompt.format("red", "blue")), ["decode"])["decode"][0]
    inner, corner = reds[54:74, 54:74].mean((0, 1)), reds[:12, :12].mean((0, 1))
    assert inner[0] > inner[2] + 0.2
    assert corner[2] > corner[0] + 0.2


def test_outside_the_mask_every_pixel_is_the_sources(run: Any) -> None:
    from PIL import Image

    graph = latentloom.load("inpaint")
    result = run(graph)
    inputs = ROOT / "graphs" / "inputs"
    with Image.open(result.saved[0][1]) as saved, Image.open(inputs / "house.png") as source:
        got, was = (_bytes(image.convert("RGB")) for image in (saved, source))
    with Image.open(inputs / "mask.png") as mask:
        keep = _bytes(mask.convert("L")) == 0
    assert torch.equal(got[keep], was[keep])
    assert float((got[~keep].float() - was[~keep].float()).abs().mean()) > 10


@pytest.mark.parametrize(("name", "ring_px"), [("inpaint_exact", 8), ("inpaint_crop", 4)])
def test_beyond_the_ring_of_the_mask_every_pixel_is_the_sources(
    name: str, ring_px: int, run: Any
) -> None:
    from PIL import Image

    from latentloom.diffusion.images.masks import grow

    result = run(latentloom.load(name))
    inputs = ROOT / "graphs" / "inputs"
    with Image.open(result.saved[0][1]) as saved, Image.open(inputs / "house.png") as source:
        got, was = (_bytes(image.convert("RGB")) for image in (saved, source))
    with Image.open(inputs / "mask.png") as mask:
        covered = _bytes(mask.convert("L")).float()[None]
    ring = grow(covered, ring_px, tapered=False)[0]
    assert torch.equal(got[ring == 0], was[ring == 0])
    assert not torch.equal(got[ring > 0], was[ring > 0])


def test_three_masked_passes_cost_one_decode_and_leave_the_outside(run: Any) -> None:
    result = run(latentloom.load("inpaint_passes"))
    types = [report.type for report in result.nodes.values()]
    assert (types.count("KSampler"), types.count("VAEDecode")) == (3, 1)
    passes = json.loads(dict(result.saved)["table"].read_text())["passes"]
    assert [row["sampled"]["model_calls"] for row in passes] == [12, 12, 12]
    assert passes[2]["outside"] | {"pixels": 0} == {
        "pixels": 0, "changed": 0, "psnr_db": None, "delta_e": 0.0,
    }  # fmt: skip
    assert passes[2]["inside"]["delta_e"] > 1


def test_outpainting_keeps_the_image_and_fills_the_margin(run: Any) -> None:
    result = run(latentloom.load("outpaint"), ["paste_back", "photo"])
    painted, source = result["paste_back"], result["photo"].IMAGE
    assert painted.shape == (1, 128, 192, 3)
    assert torch.equal(painted[:, :, :112], source[:, :, :112])
    margin = painted[:, :, 128:]
    assert float((margin - 0.5).abs().mean()) > 0.05


def test_one_region_changes_much_one_a_little_and_one_not_at_all(run: Any) -> None:
    result = run(latentloom.load("regional_denoise"), ["photo", "grey", "paste_back"])
    change = (result["paste_back"] - result["photo"].IMAGE).abs().mean(-1)
    grey = result["grey"]
    assert sorted(set(grey.flatten().tolist())) == [0.0, pytest.approx(0.35), 1.0]
    assert float(change[grey == 0].max()) == 0.0
    assert float(change[grey == 1].mean()) > float(change[(grey > 0) & (grey < 1)].mean()) > 0


def test_a_detail_pass_changes_what_was_found_and_nothing_else(run: Any) -> None:
    from latentloom.diffusion.images.masks import grow

    result = run(latentloom.load("detail_pass"), ["photo", "detect", "crop", "stitch"])
    mask, actual = result["detect"]
    assert actual == len(result["crop"].cropped_image) >= 1
    source, painted = result["photo"].IMAGE, result["stitch"]
    beyond = grow(mask, 4, tapered=False) == 0
    assert torch.equal(painted[beyond], source[beyond])
    assert not torch.equal(painted[mask > 0], source[mask > 0])


def test_a_detail_pass_that_finds_nothing_samples_nothing(run: Any) -> None:
    graph = latentloom.load("detail_pass").set("detect.threshold", 1.0).set("detect.drop_size", 500)
    result = run(graph, ["photo", "detect", "result"])
    assert result["detect"].detections == 0
    assert torch.equal(result["result"], result["photo"].IMAGE)
    assert {result.nodes[id].state for id in ("crop", "sample", "stitch")} == {"skipped"}


def test_another_seed_for_one_variation_pays_for_that_one(run: Any) -> None:
    graph = latentloom.load("variations")
    sheet = run(graph, ["sheet"])["sheet"]
    quarters = [sheet[:, y : y + 128, x : x + 128] for y in (0, 128) for x in (0, 128)]
    assert sheet.shape == (1, 256, 256, 3)
    assert all(distance(quarters[0], other) > 1 for other in quarters[1:])
    result = run(graph.set("seed3.seed", 999), ["sheet"])
    ran = {id for id, report in result.nodes.items() if report.state == "ran"}
    assert ran == {"seed3", "image3", "below", "sheet"}


def test_a_folder_goes_through_one_graph_and_is_left_as_it_was(
    engine: Engine, tmp_path: Path
) -> None:
    from latentloom.engine.execution.batch import BatchSource, run_folder

    inputs, folder = ROOT / "graphs" / "inputs", tmp_path / "images"
    folder.mkdir()
    for name in ("house.png", "lake.png"):
        (folder / name).write_bytes((inputs / name).read_bytes())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    graph = latentloom.load("batch_folder")
    where = latentloom.workspace(graph, output_dir=tmp_path / "out")
    turns = list(run_folder(engine, graph, where, BatchSource(folder)))
    assert [turn.state for turn in turns] == ["ran", "ran"]
    assert [turn.saved[0].name for turn in turns] == ["house_00001_.png", "lake_00001_.png"]
    again = list(run_folder(engine, graph, where, BatchSource(folder)))
    assert [(turn.state, turn.model_calls) for turn in again] == [("skipped", 0)] * 2
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def unevenness(image: Tensor) -> float:
    """Return how far the steepest rows or columns stand out; 1 is not at all."""
    result = []
    for axis in (0, 1):
        steps = image.diff(dim=axis).abs().mean(dim=(1 - axis, 2))
        # The decoder draws in cells of 8 pixels; their edges are not seams between tiles.
        peaks = steps[: len(steps) // 8 * 8].reshape(-1, 8).amax(dim=1)
        result.append(float(peaks.max() / peaks.median()))
    return max(result)


def test_tiles_of_a_refined_image_show_no_seam(run: Any) -> None:
    """On plain ground, where one would show best, tiles stand out no more than one tile does."""
    images = []
    for side in (96, 512):
        b = latentloom.build()
        model, clip, vae = b.CheckpointLoaderSimple(ckpt_name="demo")
        prompt = b.CLIPTextEncode(text="", clip=clip)
        plain = b.EmptyImage(width=128, height=128, color=0x7896AA)
        options = {"steps": 6, "cfg": 1.0, "denoise": 0.3, "seed": 4, "tile_padding": 16}
        b.UltimateSDUpscale(
            image=plain, model=model, positive=prompt, negative=prompt, vae=vae,
            tile_width=side, tile_height=side, id="refine", **options,
        )  # fmt: skip
        images.append(run(b.graph, ["refine"])["refine"][0])
    assert images[0].shape == (256, 256, 3)
    assert unevenness(images[0]) < 1.25 * unevenness(images[1])


def _bytes(image: Any) -> Tensor:
    channels = len(image.getbands())
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.reshape(image.height, image.width, *([channels] if channels > 1 else []))


def test_changing_the_last_pass_pays_for_the_last_pass(engine: Engine, tmp_path: Path) -> None:
    graph = latentloom.load("multi_pass")
    where = latentloom.workspace(graph, output_dir=tmp_path)
    engine.run(graph, where)
    changed = graph.set("pass3.denoise", 0.25)
    plan = engine.plan(changed, where)
    assert str(plan.nodes["pass3"].why) == "denoise 0.2 -> 0.25"
    result = engine.run(changed, where)
    ran = {id for id, report in result.nodes.items() if report.state == "ran"}
    assert ran == {"pass3", "decode", "save"}
    assert result.model_calls == 12


def test_changing_the_seed_keeps_the_encodings(run: Any) -> None:
    graph = latentloom.load("img2img")
    run(graph)
    result = run(graph.set_input("seed", 12345))
    ran = {id for id, report in result.nodes.items() if report.state == "ran"}
    assert ran == {"sample", "decode", "save"}


def test_changing_one_prompt_keeps_the_other(run: Any) -> None:
    graph = latentloom.load("img2img")
    run(graph)
    result = run(graph.set_input("prompt", "a green tree"))
    ran = {id for id, report in result.nodes.items() if report.state == "ran"}
    assert ran == {"positive", "sample", "decode", "save"}


def test_the_size_comes_from_the_model(run: Any) -> None:
    assert run(latentloom.load("txt2img"), ["decode"])["decode"].shape == (1, 128, 128, 3)


def test_the_larger_image_is_larger(run: Any) -> None:
    assert run(latentloom.load("upscale_refine"), ["decode"])["decode"].shape == (1, 192, 192, 3)
