"""ControlNet nodes in the engine: listing, checks before the run, cache keys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import latentloom
from latentloom.diffusion.conditioning.conditioning import PromptEntry
from latentloom.diffusion.networks.control import Control
from latentloom.diffusion.networks.control_load import load_control
from latentloom.diffusion.weights.folders import list_models
from latentloom.engine.cache.fingerprint import Fingerprinter
from latentloom.engine.errors import GraphError, InputError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.graph.graph import Graph
from latentloom.nodes import controlnet
from latentloom.nodes.codecs import TENSOR_FINGERPRINT
from tests.tiny_model import write_tiny_control

fingerprint = Fingerprinter((TENSOR_FINGERPRINT,)).fingerprint


@pytest.fixture(scope="module", autouse=True)
def nets(models: Path) -> None:
    """Write `edges` for `tiny`, and `wide` of another family."""
    write_tiny_control(models / "controlnet" / "edges")
    write_tiny_control(models / "controlnet" / "wide", text_dim=64)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("input")
    Image.effect_noise((64, 64), 90).convert("RGB").save(folder / "edges.png")
    return Workspace(input_dir=folder)


def control_graph(net: str = "edges", **changes: Any) -> Graph:
    """Build txt2img with a ControlNet; node ids net, apply, sample."""
    builder = latentloom.build()
    model, clip, _ = builder.CheckpointLoaderSimple(ckpt_name="tiny", id="model")
    positive = builder.CLIPTextEncode(text="a fox", clip=clip)
    negative = builder.CLIPTextEncode(text="", clip=clip)
    image, _ = builder.LoadImage(image="edges.png")
    loaded = builder.ControlNetLoader(control_net_name=net, id="net")
    guided, controlled_negative = builder.ControlNetApplyAdvanced(
        positive=positive,
        negative=negative,
        control_net=loaded,
        image=image,
        id="apply",
        **changes,
    )
    builder.KSampler(
        model=model,
        positive=guided,
        negative=controlled_negative,
        latent_image=builder.EmptyLatentImage(model=model),
        steps=4,
        scheduler="normal",
        id="sample",
    )
    return builder.graph


def test_folders_and_files_under_controlnet_are_installed(models: Path) -> None:
    file = models / "controlnet" / "sub" / "net.safetensors"
    file.parent.mkdir()
    save_file({"a": torch.zeros(1)}, file)
    names = list_models("controlnet")
    file.unlink()
    assert {"edges", "wide", "sub/net.safetensors"} <= set(names)
    assert not any(name.startswith("edges/") for name in names)


def test_strength_scales_the_control_and_0_is_off(engine: Engine, workspace: Workspace) -> None:
    plain, half, full = (
        engine.run(control_graph(strength=strength), workspace, targets=["sample"])
        for strength in (0.0, 0.5, 1.0)
    )
    assert full.errors == ()
    assert full.model_calls == 4
    moved = [
        float((result["sample"].samples - plain["sample"].samples).abs().mean())
        for result in (half, full)
    ]
    assert 0 < moved[0] < moved[1]


def test_a_controlnet_of_another_family_is_rejected_before_the_run(
    engine: Engine, workspace: Workspace
) -> None:
    with pytest.raises(GraphError) as caught:
        engine.run(control_graph("wide"), workspace, targets=["sample"])
    (problem,) = caught.value.problems
    assert (problem.kind, problem.port) == ("wrong_family", "control_net")
    assert "sd-32" in problem.expected
    assert problem.got == "family sd-64"


def test_another_kind_of_file_is_rejected_before_the_run(
    engine: Engine, workspace: Workspace, models: Path
) -> None:
    file = models / "controlnet" / "other.safetensors"
    save_file({"a": torch.zeros(1)}, file)
    problems = engine.check(control_graph("other.safetensors"), workspace)
    assert any("other.safetensors holds no ControlNet" in str(problem) for problem in problems)


def test_strength_0_does_not_change_the_conditioning(models: Path) -> None:
    net = load_control(models / "controlnet" / "edges")
    side, image = (PromptEntry(torch.zeros(1, 77, 32)),), torch.zeros(1, 8, 8, 3)
    assert controlnet.controlnet_apply_advanced(side, side, net, image, 0.0) == (side, side)
    assert controlnet.controlnet_apply(side, net, image, 0.0) is side


def test_applying_twice_keeps_both_controls_in_order(models: Path) -> None:
    net = load_control(models / "controlnet" / "edges")
    side, image = (PromptEntry(torch.zeros(1, 77, 32)),), torch.zeros(1, 8, 8, 3)
    once = controlnet.controlnet_apply_advanced(side, side, net, image, 0.4)
    (entry,) = controlnet.controlnet_apply(once.positive, net, image, 0.6)
    assert [control.strength for control in entry.controls] == [0.4, 0.6]
    assert [control.both_sides for control in entry.controls] == [False, True]
    assert once.positive[0].controls == once.negative[0].controls
    assert side[0].controls == ()


def test_fingerprints_of_controls_cover_every_field(models: Path) -> None:
    net = load_control(models / "controlnet" / "edges")
    control = Control(net, torch.zeros(1, 8, 8, 3))
    others = [
        replace(control, hint=torch.ones(1, 8, 8, 3)),
        replace(control, net=load_control(models / "controlnet" / "wide")),
        replace(control, strength=0.5),
        replace(control, start=0.1),
        replace(control, end=0.9),
        replace(control, both_sides=True),
    ]
    assert len({fingerprint(result) for result in (control, *others)}) == 7
    assert fingerprint(replace(control)) == fingerprint(control)


def test_the_type_of_a_union_controlnet_is_set_and_checked(models: Path) -> None:
    folder = write_tiny_control(models / "controlnet" / "union", union=True)
    net = load_control(folder)
    canny = controlnet.set_union_controlnet_type(net, "canny/lineart/anime_lineart/mlsd")
    assert (net.kind, canny.kind) == (-1, 3)
    assert fingerprint(canny) != fingerprint(net)
    with pytest.raises(InputError, match=r"type: .*6 types"):
        controlnet.set_union_controlnet_type(net, "tile")
