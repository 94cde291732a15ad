"""Every example runs on random checkpoints in one file, of SD1.5's family and of SDXL's.

The checkpoints are the seeded ones of goldens/model, with fewer blocks than the real ones, so that
what is read from their keys is the shape of a network too. SDXL's ControlNet has no attention, as
the small published ones; its LoRA is on some layers. Small images, one step.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import latentloom
from latentloom import Engine, Graph
from latentloom.diffusion.weights.folders import MODELS_VARIABLE
from tests.paths import ROOT

pytestmark = pytest.mark.slow
GRAPHS = sorted((ROOT / "graphs").glob("*.yaml"))
SCRIPT = ROOT / "tests" / "goldens" / "model" / "make_random_sd15.py"
FILES: dict[str, str] = runpy.run_path(str(SCRIPT))["FILES"]
SIDE = 128
# Which models take the demo's place.
SD15 = {
    "ckpt_name": "random_sd15_mini.safetensors",
    "control_net_name": "random_sd15_mini_controlnet.safetensors",
    "lora_name": "random_sd15_mini_lora_r8.safetensors",
}
SDXL = {
    "ckpt_name": "random_sdxl_mini.safetensors",
    "control_net_name": "random_sdxl_controlnet",
    "lora_name": "random_sdxl_lora.safetensors",
}
LORA_LAYERS = {
    "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q": (640, 640),
    "lora_unet_up_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k": (640, 2048),
    "lora_te1_text_model_encoder_layers_0_self_attn_q_proj": (768, 768),
    "lora_te2_text_model_encoder_layers_0_mlp_fc1": (5120, 1280),
}
RANK = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch, Engine(latentloom.registry()) as result:
        patch.setenv(MODELS_VARIABLE, str(folder))
        yield result


def make(models: dict[str, str], folder: Path) -> None:
    """Write those that are not there yet."""
    known = {Path(file).name: name for name, file in FILES.items()}
    missing = [file for file in models.values() if not any(folder.rglob(file))]
    if SDXL["control_net_name"] in missing:
        make_sdxl_controlnet(folder / "controlnet" / SDXL["control_net_name"])
    if SDXL["lora_name"] in missing:
        make_sdxl_lora(folder / "loras" / SDXL["lora_name"])
    expected = [known[file] for file in missing if file in known]
    if expected:
        command = [sys.executable, str(SCRIPT), str(folder), "--only", ",".join(expected)]
        subprocess.run(command, check=True, capture_output=True)


def make_sdxl_controlnet(folder: Path) -> None:
    from diffusers import ControlNetModel

    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = ControlNetModel(
            down_block_types=("DownBlock2D",) * 3,
            block_out_channels=(320, 640, 1280),
            mid_block_type="UNetMidBlock2D",
            cross_attention_dim=2048,
            attention_head_dim=(5, 10, 20),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
        for last in (*net.controlnet_down_blocks, net.controlnet_mid_block):
            torch.nn.init.normal_(last.weight, std=0.02)
    net.half().save_pretrained(folder)


def make_sdxl_lora(path: Path) -> None:
    random = torch.Generator().manual_seed(2)
    tensors = {}
    for layer, (rows, columns) in LORA_LAYERS.items():
        for name, shape in (("up", (rows, RANK)), ("down", (RANK, columns))):
            values = torch.randn(shape, generator=random) * 0.1
            tensors[f"{layer}.lora_{name}.weight"] = values.half()
        tensors[f"{layer}.alpha"] = torch.tensor(float(RANK))
    path.parent.mkdir(exist_ok=True)
    save_file(tensors, path)


def on(graph: Graph, models: dict[str, str]) -> Graph:
    """The graph on other models, with one step in each sampler and small images."""
    for id, node in graph.nodes.items():
        spec = latentloom.registry()[node.type]
        values: dict[str, object] = {**models, "steps": 1}
        if node.type == "EmptyLatentImage":
            values |= {"width": SIDE, "height": SIDE}
        for name, value in values.items():
            if spec.port(name) is not None:
                graph = graph.set(f"{id}.{name}", value)
    return graph


CASES = {f"{path.stem}-sd15": (path, SD15) for path in GRAPHS}
CASES |= {f"{path.stem}-sdxl": (path, SDXL) for path in GRAPHS}


@pytest.mark.parametrize(("path", "models"), CASES.values(), ids=CASES)
def test_an_example_runs_on_a_checkpoint_in_one_file(
    path: Path, models: dict[str, str], engine: Engine, folder: Path, tmp_path: Path
) -> None:
    make(models, folder)
    graph = on(latentloom.load(path), models)
    result = engine.run(graph, latentloom.workspace(graph, output_dir=tmp_path))
    assert result.errors == ()
    assert result.model_calls > 0
    assert all(file.stat().st_size > 1000 for _, file in result.saved if file.suffix == ".png")


def test_a_controlnet_of_another_family_is_refused_with_both_named(
    engine: Engine, folder: Path
) -> None:
    models = {**SDXL, "control_net_name": SD15["control_net_name"]}
    make(models, folder)
    graph = on(latentloom.load("controlnet_img2img"), models)
    (problem,) = engine.check(graph, latentloom.workspace(graph))
    assert problem.kind == "wrong_family"
    assert ("sdxl" in problem.expected, "sd15" in problem.got) == (True, True)
