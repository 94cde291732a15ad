"""The demo model's ControlNet and LoRA through the nodes do what its evaluation says of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

import latentloom
from latentloom import Engine
from tests.paths import ROOT
from training.judging.studio import open_studio
from training.judging.tasks import recoloured, traced_scenes
from training.stages.adapter import off_tones
from training.world.captions import describe
from training.world.edges import HIGH, LOW, edge_f1, edges_of
from training.world.render import render

MODELS = ROOT / "models"
NATIVE_SIZE = 8 * json.loads((MODELS / "demo/unet/config.json").read_text())["sample_size"]
SIZE = {"width": 128, "height": 128}
SAMPLING = {"steps": 20, "cfg": 4.0, "sampler_name": "dpmpp_2m", "scheduler": "karras"}
LORA = "demo-duotone.safetensors"


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(latentloom.registry()) as made:
        yield made


def bytes_of(image: Tensor) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image[0].mul(255).round().byte().numpy()))


def prompted(
    b: Any, model: Any, clip: Any, vae: Any, prompt: str, seed: int, **control: Any
) -> None:
    """Nodes from a prompt to `image`; `control` goes to ControlNetApplyAdvanced."""
    positive, negative = (b.CLIPTextEncode(text=text, clip=clip) for text in (prompt, ""))
    if control:
        positive, negative = b.ControlNetApplyAdvanced(
            positive=positive, negative=negative, start_percent=0.0, end_percent=1.0, **control
        )
    latent = b.KSampler(
        model=model,
        positive=positive,
        negative=negative,
        latent_image=b.EmptyLatentImage(**SIZE),
        seed=seed,
        **SAMPLING,
    )
    b.VAEDecode(samples=latent, vae=vae, id="image")


def traced(engine: Engine, source: Path, prompt: str, seed: int, strength: float) -> Image.Image:
    """A prompt along the edges of an image, through the nodes."""
    b = latentloom.build()
    model, clip, vae = b.CheckpointLoaderSimple(ckpt_name="demo")
    image, _ = b.LoadImage(image=source.name)
    hint = b.Canny(image=image, low_threshold=LOW, high_threshold=HIGH)
    net = b.ControlNetLoader(control_net_name="demo-canny")
    prompted(b, model, clip, vae, prompt, seed, control_net=net, image=hint, strength=strength)
    where = latentloom.workspace(b.graph, input_dir=source.parent)
    return bytes_of(engine.run(b.graph, where, ["image"])["image"])


def toned(engine: Engine, strength: float | None) -> Image.Image:
    """A prompt with the LoRA at a strength, or without its node."""
    b = latentloom.build()
    loaded, clip, vae = b.CheckpointLoaderSimple(ckpt_name="demo")
    model: Any = loaded
    if strength is not None:
        model = b.LoraLoaderModelOnly(model=loaded, lora_name=LORA, strength_model=strength)
    prompted(b, model, clip, vae, "a red house on the left, summer, hills, sun", 3)
    where = latentloom.workspace(b.graph)
    return bytes_of(engine.run(b.graph, where, ["image"])["image"])


def test_the_edges_hold_and_the_image_is_the_evaluation_s(engine: Engine, tmp_path: Path) -> None:
    studio, scores = open_studio(MODELS), []
    for seed, scene in enumerate(traced_scenes(6, seed=46)):
        source, path = render(scene, NATIVE_SIZE), tmp_path / f"{seed}.png"
        source.save(path)
        prompt = describe(recoloured(scene, seed))

        got = traced(engine, path, prompt, seed, 1.0)

        assert got.tobytes() == studio.trace(source, prompt, seed).tobytes()
        scores.append(edge_f1(edges_of(source), edges_of(got)))
    assert np.mean(scores) > 0.55


def test_a_controlnet_at_strength_0_is_none(engine: Engine, tmp_path: Path) -> None:
    scene = traced_scenes(1, seed=46)[0]
    render(scene, NATIVE_SIZE).save(tmp_path / "source.png")

    got = traced(engine, tmp_path / "source.png", "a red circle, summer", 1, 0.0)

    plain = open_studio(MODELS).draw("a red circle, summer", 1)
    assert got.tobytes() == plain.tobytes()


def test_more_of_the_lora_is_nearer_to_its_two_tones(engine: Engine) -> None:
    away = [off_tones(toned(engine, strength)) for strength in (0.0, 0.5, 1.0)]

    assert away[0] > away[1] > away[2]
    assert away[2] < 0.35 * away[0]


def test_the_base_model_is_the_same_after_a_lora_as_before() -> None:
    images = []
    for strength in (None, 1.0, 0.0, None):
        with Engine(latentloom.registry()) as fresh:
            images.append(toned(fresh, strength).tobytes())

    assert images[0] == images[2] == images[3]
    assert images[1] != images[0]
