"""ControlNets from any layout: active in their range, summed, equal to diffusers'."""

from __future__ import annotations

import contextlib
import json
import random
import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from latentloom.diffusion.conditioning.conditioning import Conditioning, PromptEntry, with_control
from latentloom.diffusion.errors import ModelFileError, NonFiniteError
from latentloom.diffusion.families.tensor_info import TensorInfo
from latentloom.diffusion.families.unet import ControlResiduals
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.control import Control, ControlNet, ControlRunner
from latentloom.diffusion.networks.control_load import load_control
from latentloom.diffusion.networks.load import Checkpoint
from latentloom.diffusion.networks.tiled_model import TileWindow
from latentloom.diffusion.networks.weights import UNetInputs
from latentloom.diffusion.sampling.noise import start_noise
from latentloom.diffusion.sampling.sample import SamplePlan, sample
from latentloom.diffusion.schedules.model_sampling import ModelSampling
from latentloom.diffusion.weights.control_file import (
    check_control,
    detect_control_family,
    read_control_network,
)
from tests.paths import ROOT
from tests.tiny_model import write_tiny_control

SCRIPT = ROOT / "tests" / "goldens" / "model" / "make_random_sd15.py"
PLAN = SamplePlan(3, 10, 4.0, "euler", "normal")
EMPTY = Latent(torch.zeros(2, 4, 8, 8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_control(tmp_path_factory.mktemp("control") / "tiny")


@pytest.fixture(scope="module")
def net(folder: Path) -> ControlNet:
    return load_control(folder)


@pytest.fixture
def calls(net: ControlNet) -> Iterator[list[int]]:
    """Record the batch size of each call of the ControlNet."""
    batches: list[int] = []

    def count(_module: torch.nn.Module, inputs: Any) -> None:
        batches.append(len(inputs[0]))

    hook = net.weights.module.register_forward_pre_hook(count)
    yield batches
    hook.remove()


def prompt(seed: int) -> Conditioning:
    return (PromptEntry(torch.randn(1, 77, 32, generator=torch.Generator().manual_seed(seed))),)


def image(seed: int = 9, side: int = 64) -> torch.Tensor:
    return torch.rand(1, side, side, 3, generator=torch.Generator().manual_seed(seed))


def run(tiny: Checkpoint, *controls: Control, latent: Latent = EMPTY) -> torch.Tensor:
    sides = [prompt(1), prompt(2)]
    for control in controls:
        sides = [with_control(side, control) for side in sides]
    return sample(tiny.model, latent, sides[0], sides[1], PLAN).samples


def test_a_control_changes_the_image_in_one_call_a_step(
    tiny: Checkpoint, net: ControlNet, calls: list[int]
) -> None:
    assert not torch.allclose(run(tiny), run(tiny, Control(net, image())), rtol=0.1)
    assert calls == [4] * 10


def test_a_control_of_strength_0_changes_nothing(tiny: Checkpoint, net: ControlNet) -> None:
    assert torch.equal(run(tiny), run(tiny, Control(net, image(), strength=0.0)))


def test_a_range_up_to_a_half_acts_on_the_first_half_of_the_steps(
    tiny: Checkpoint, net: ControlNet, calls: list[int]
) -> None:
    run(tiny, Control(net, image(), end=0.5))
    assert len(calls) == 5


def test_nan_from_a_controlnet_is_an_error_that_names_it(tiny: Checkpoint, net: ControlNet) -> None:
    middle = net.weights.module.get_submodule("controlnet_mid_block")
    hook = middle.register_forward_hook(lambda _module, _inputs, output: output * torch.nan)
    try:
        with pytest.raises(NonFiniteError, match="the ControlNet"):
            run(tiny, Control(net, image()))
    finally:
        hook.remove()


def test_two_halves_of_a_range_equal_the_full_range(tiny: Checkpoint, net: ControlNet) -> None:
    hint = image()
    split = [Control(net, hint, end=0.5), Control(net, hint, start=0.5)]
    torch.testing.assert_close(run(tiny, *split), run(tiny, Control(net, hint)))


def test_two_controls_add_up(tiny: Checkpoint, net: ControlNet) -> None:
    hint = image()
    both = run(tiny, Control(net, hint, strength=0.3), Control(net, hint, strength=0.5))
    torch.testing.assert_close(
        both, run(tiny, Control(net, hint, strength=0.8)), rtol=1e-3, atol=1e-3
    )


def test_each_image_of_a_batch_has_its_own_hint(tiny: Checkpoint, net: ControlNet) -> None:
    hints = torch.cat([image(4), image(5)])
    both = run(tiny, Control(net, hints))
    first = run(tiny, Control(net, hints[:1]))
    second = run(tiny, Control(net, hints[1:]))
    torch.testing.assert_close(both[0], first[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(both[1], second[1], rtol=1e-4, atol=1e-4)


def test_a_hint_is_resized_once(net: ControlNet, monkeypatch: pytest.MonkeyPatch) -> None:
    from latentloom.diffusion.networks import control as module

    sizes: list[tuple[int, int]] = []

    def resize(pixels: torch.Tensor, width: int, height: int, *rest: str) -> torch.Tensor:
        sizes.append((width, height))
        return torch.zeros(len(pixels), 3, height, width)

    monkeypatch.setattr(module, "resize", resize)
    runner = ControlRunner(ModelSampling())
    control = Control(net, image(side=32))
    inputs = UNetInputs(torch.zeros(2, 4, 8, 16), torch.zeros(2), torch.zeros(2, 77, 32))
    with torch.no_grad():
        for sigma in (10.0, 5.0, 1.0):
            runner.sum_residuals((control,), sigma, inputs, 2)
    assert sizes == [(128, 64)]


def test_a_control_for_both_sides_reaches_a_negative_without_one(
    tiny: Checkpoint, net: ControlNet
) -> None:
    control = Control(net, image(), both_sides=True)
    same = sample(tiny.model, EMPTY, with_control(prompt(1), control), prompt(2), PLAN)
    torch.testing.assert_close(same.samples, run(tiny, control))
    single = replace(control, both_sides=False)
    alone = sample(tiny.model, EMPTY, with_control(prompt(1), single), prompt(2), PLAN)
    assert not torch.allclose(alone.samples, same.samples)


@pytest.mark.filterwarnings("ignore")  # diffusers' own
def test_sampling_equals_diffusers_pipeline(tiny: Checkpoint, net: ControlNet) -> None:
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionControlNetPipeline

    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    steps = {"use_karras_sigmas": True, "timestep_spacing": "linspace"}
    absent = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor"))
    pipeline = StableDiffusionControlNetPipeline(
        vae=tiny.vae.weights.module,
        unet=tiny.model.weights.module,
        controlnet=net.weights.module,
        scheduler=DPMSolverMultistepScheduler(**betas, **steps),
        requires_safety_checker=False,
        **absent,
    )
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        prompt_embeds=prompt(1)[0].tokens,
        negative_prompt_embeds=prompt(2)[0].tokens,
        image=image().movedim(-1, 1),
        latents=start_noise((1, 4, 8, 8), 3),
        num_inference_steps=5,
        guidance_scale=4.0,
        controlnet_conditioning_scale=0.7,
        output_type="latent",
    ).images
    control = Control(net, image(), strength=0.7)
    sides = [with_control(prompt(seed), control) for seed in (1, 2)]
    plan = SamplePlan(3, 5, 4.0, "dpmpp_2m", "karras")
    got = sample(tiny.model, Latent(torch.zeros(1, 4, 8, 8)), sides[0], sides[1], plan).samples
    got = tiny.model.family.to_model(got)
    # Two implementations on the same weights agreed to 2e-5.
    assert float((got - expected).abs().max() / expected.std()) < 1e-4


def test_the_family_and_the_cell_come_from_the_configuration(folder: Path) -> None:
    family = detect_control_family(folder)
    assert (family.name, family.vae_factor) == ("sd-32", 8)
    check_control(folder)


def test_a_folder_of_another_class_is_rejected(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"_class_name": "T2IAdapter"}))
    with pytest.raises(
        ModelFileError, match=r"_class_name: expected .*UnionModel, got 'T2IAdapter'"
    ):
        check_control(tmp_path)


def test_a_file_in_diffusers_keys_is_the_same_net(
    folder: Path, net: ControlNet, tmp_path: Path
) -> None:
    file = tmp_path / "net.safetensors"
    save_file(load_file(folder / "diffusion_pytorch_model.safetensors"), file)
    got = load_control(file)
    assert got.family == net.family
    inputs = UNetInputs(torch.randn(1, 4, 8, 8), torch.tensor([7.0]), torch.randn(1, 77, 32))
    hint = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = net.weights.predict(inputs, hint, 1.0)
        residuals = got.weights.predict(inputs, hint, 1.0)
    torch.testing.assert_close(residuals, expected)


def test_a_difference_is_added_to_a_model_and_needs_one(
    folder: Path, net: ControlNet, tiny: Checkpoint, tmp_path: Path
) -> None:
    base = tiny.model.weights.module.state_dict()
    weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    difference = {
        name: weight - base[name].cpu().float() if name in base else weight
        for name, weight in weights.items()
    }
    file = tmp_path / "difference.safetensors"
    save_file({**difference, "difference": torch.zeros(1)}, file)
    with pytest.raises(ModelFileError, match="DiffControlNetLoader"):
        load_control(file)
    got = load_control(file, tiny.model).weights.module.state_dict()
    for name, weight in net.weights.module.state_dict().items():
        torch.testing.assert_close(got[name], weight)
    assert load_control(folder, tiny.model).weights is net.weights


@pytest.mark.parametrize(
    ("shape", "family"), [("MINI", "sd15"), ("SD15", "sd15"), ("SDXL", "sdxl")]
)
def test_the_original_keys_of_a_family_fill_its_network(shape: str, family: str) -> None:
    from diffusers import ControlNetModel

    made = runpy.run_path(str(SCRIPT))
    spec = made["Spec"]()
    made["controlnet"](spec, made[shape])
    infos = {key: TensorInfo("F16", tuple(size)) for key, size, *_ in spec.items}
    part = read_control_network("net", infos)
    with torch.device("meta"):
        expected = ControlNetModel(**part.config).state_dict()
    got = {name: infos[key].shape for key, name in part.names.items()}
    assert got.keys() == expected.keys()
    assert all(tuple(expected[name].shape)[: len(size)] == size for name, size in got.items())


def test_a_file_without_a_controlnet_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "lora.safetensors"
    save_file({"lora_unet_mid.lora_up.weight": torch.zeros(4, 4)}, file)
    with pytest.raises(ModelFileError, match="holds no ControlNet"):
        check_control(file)


def test_a_tile_takes_its_part_of_the_hint(net: ControlNet) -> None:
    hint = torch.rand(1, 64, 128, 3)
    seen: list[torch.Tensor] = []

    def record(_module: torch.nn.Module, inputs: Any, options: dict[str, Any]) -> None:
        seen.append(inputs[3] if len(inputs) > 3 else options["controlnet_cond"])

    hook = net.weights.module.register_forward_pre_hook(record, with_kwargs=True)
    inputs = UNetInputs(torch.zeros(1, 4, 8, 8), torch.tensor([5.0]), torch.zeros(1, 77, 32), None)
    window = TileWindow(0, 8, (8, 16))
    with torch.no_grad():
        ControlRunner(ModelSampling()).sum_residuals([Control(net, hint)], 1.0, inputs, 1, window)
    hook.remove()
    assert torch.equal(seen[0], hint[:, :, 64:].movedim(-1, 1))


@pytest.fixture(scope="module")
def union_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_control(tmp_path_factory.mktemp("control") / "union", union=True)


def residuals_of(net: ControlNet, kind: int) -> ControlResiduals:
    inputs = UNetInputs(torch.randn(2, 4, 8, 8), torch.tensor([7.0, 7.0]), torch.randn(2, 77, 32))
    hint = image().movedim(-1, 1).expand(2, -1, -1, -1)
    with torch.no_grad():
        result = net.weights.predict(inputs, hint, 0.5, kind)
    assert isinstance(result, ControlResiduals)
    return result


def test_a_union_controlnet_equals_diffusers(union_folder: Path) -> None:
    net = load_control(union_folder)
    module: Any = net.weights.module
    torch.manual_seed(0)
    got = residuals_of(net, 3)
    torch.manual_seed(0)
    with torch.no_grad():
        expected = module(
            torch.randn(2, 4, 8, 8),
            torch.tensor([7.0, 7.0]),
            torch.randn(2, 77, 32),
            [image().movedim(-1, 1).expand(2, -1, -1, -1)],
            control_type=torch.eye(6)[[3, 3]],
            control_type_idx=[3],
            conditioning_scale=0.5,
        )
    torch.testing.assert_close(got.middle, expected.mid_block_res_sample)
    torch.testing.assert_close(got.skips[2], expected.down_block_res_samples[2])


def test_the_kind_of_a_hint_matters_and_no_kind_reads_it_too(union_folder: Path) -> None:
    net = load_control(union_folder)
    middles = []
    for kind in (-1, 0, 3):
        torch.manual_seed(0)
        middles.append(residuals_of(net, kind).middle)
    assert not torch.allclose(middles[0], middles[1])
    assert not torch.allclose(middles[1], middles[2])
    module: Any = net.weights.module
    assert len(module.conv_in._forward_hooks) == 0


def test_a_union_file_is_the_same_net_as_its_folder(union_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "union.safetensors"
    save_file(load_file(union_folder / "diffusion_pytorch_model.safetensors"), file)
    check_control(file)
    folder, single = load_control(union_folder), load_control(file)
    for kind in (-1, 4):
        torch.manual_seed(0)
        expected = residuals_of(folder, kind)
        torch.manual_seed(0)
        torch.testing.assert_close(residuals_of(single, kind), expected)


def corrupt(infos: dict[str, TensorInfo], seed: int) -> dict[str, TensorInfo]:
    """Remove and rename some keys, and give them other shapes."""
    rng, corrupted = random.Random(seed), dict(infos)
    for key in rng.sample(sorted(infos), 4):
        corrupted.pop(key)
        shape = tuple(rng.choice((0, 1, 7, 2**40)) for _ in range(rng.randrange(5)))
        renamed = key.replace(rng.choice("0_."), rng.choice(("", "9", ".", "-1")), 1)
        corrupted[rng.choice((key, renamed, "task_embedding"))] = TensorInfo("F16", shape)
    return corrupted


@given(st.integers(0, 2**32))
def test_any_keys_are_a_controlnet_or_a_typed_error(seed: int) -> None:
    made = runpy.run_path(str(SCRIPT))
    spec = made["Spec"]()
    made["controlnet"](spec, made["MINI"])
    infos = {key: TensorInfo("F16", tuple(size)) for key, size, *_ in spec.items}
    names = read_control_network("net", infos).names
    renamed = {name: infos[key] for key, name in names.items()}
    for keys in (infos, renamed):
        with contextlib.suppress(ModelFileError):
            assert read_control_network("net", corrupt(keys, seed)).names


def test_a_file_of_other_shapes_is_rejected(folder: Path, tmp_path: Path) -> None:
    weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    weights["down_blocks.0.resnets.0.conv1.weight"] = torch.zeros(30, 32, 3, 3)
    file = tmp_path / "odd.safetensors"
    save_file(weights, file)
    with pytest.raises(ModelFileError, match=r"odd\.safetensors"):
        load_control(file)
