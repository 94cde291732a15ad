"""LoRA: closed forms, every naming of layers, merged just before use and removed after."""

from __future__ import annotations

import copy
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import conv2d

from latentloom.diffusion.conditioning.conditioning import Conditioning, PromptEntry
from latentloom.diffusion.conditioning.text import encode_text
from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.families.tensor_info import TensorInfo
from latentloom.diffusion.families.unet import find_unet
from latentloom.diffusion.families.unet_names import map_original_layers
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.handles import Model
from latentloom.diffusion.networks.load import Checkpoint, load_checkpoint
from latentloom.diffusion.networks.lora import LoraPatch, with_clip_lora, with_lora
from latentloom.diffusion.networks.lora_kinds import apply_change
from latentloom.diffusion.networks.patching import apply_patches
from latentloom.diffusion.networks.weights import UNetWeights
from latentloom.diffusion.sampling.sample import SamplePlan, sample
from latentloom.diffusion.weights.lora_file import check_lora, detect_lora_family
from tests.paths import ROOT
from tests.tiny_model import write_tiny_sdxl

PLAN = SamplePlan(3, 2, 4.0, "euler", "normal")
# A cross-attention layer of the tiny network, in our and in the original code's names.
LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
ORIGINAL = "input_blocks.3.1.transformer_blocks.0.attn2.to_k"
OUT = "up_blocks.0.attentions.1.transformer_blocks.0.attn1.to_out.0"
TEXT = "text_model.encoder.layers.1.self_attn.q_proj"


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def kohya(layer: str, prefix: str = "lora_unet_") -> str:
    return prefix + layer.replace(".", "_")


def write(path: Path, names: dict[str, Tensor]) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in names.items()}, path)
    return path


def kohya_file(path: Path, scale: float = 1.0, seed: int = 0) -> Path:
    """Write a LoRA of rank 2 for one layer of the network and one of the text encoder."""
    unet, text = kohya(LAYER), kohya(TEXT, "lora_te_")
    return write(
        path,
        {
            f"{unet}.lora_up.weight": random(64, 2, seed=seed) * scale,
            f"{unet}.lora_down.weight": random(2, 32, seed=seed + 1),
            f"{unet}.alpha": torch.tensor(1.0),
            f"{text}.lora_up.weight": random(32, 2, seed=seed + 2) * scale,
            f"{text}.lora_down.weight": random(2, 32, seed=seed + 3),
        },
    )


def prompt(seed: int) -> Conditioning:
    return (PromptEntry(random(1, 77, 32, seed=seed)),)


def run(model: Model) -> Tensor:
    return sample(model, Latent(torch.zeros(1, 4, 8, 8)), prompt(1), prompt(2), PLAN).samples


def weights_of(model: Model) -> dict[str, Tensor]:
    """Return the network's weights under its patches."""
    module = model.weights.module
    with apply_patches(module, model.patches):
        return {name: weight.clone() for name, weight in module.state_dict().items()}


def test_a_lora_is_its_two_factors_times_alpha_by_rank() -> None:
    weight, up, down = random(6, 5), random(6, 2, seed=1), random(2, 5, seed=2)
    roles = {"up": up, "down": down, "alpha": torch.tensor(0.5)}
    torch.testing.assert_close(apply_change(weight, roles, 0.8), weight + 0.8 * 0.25 * up @ down)
    del roles["alpha"]
    torch.testing.assert_close(apply_change(weight, roles, -1.0), weight - up @ down)


def test_the_factors_are_multiplied_before_they_are_scaled() -> None:
    # Scaled first, some weights of a network round to another value in half precision.
    weight, up, down = random(48, 40), random(48, 4, seed=1), random(4, 40, seed=2)
    roles = {"up": up, "down": down, "alpha": torch.tensor(3.0)}
    expected = weight + (0.7 * (3.0 / 4)) * (up @ down)
    assert torch.equal(apply_change(weight, roles, 0.7), expected)


def test_a_locon_is_its_convolutions_in_a_row() -> None:
    up, mid, down = random(6, 2, 1, 1), random(2, 3, 3, 3, seed=1), random(3, 5, 1, 1, seed=2)
    x = random(1, 5, 8, 8, seed=3)
    roles = {"up": up, "mid": mid, "down": down}
    merged = apply_change(torch.zeros(6, 5, 3, 3), roles, 1.0)
    inner = conv2d(conv2d(x, down), mid)
    torch.testing.assert_close(conv2d(x, merged), conv2d(inner, up), rtol=1e-4, atol=1e-4)


def test_a_convolution_takes_a_flat_lora() -> None:
    up, down = random(6, 2, 1, 1), random(2, 5, 3, 3, seed=1)
    x = random(1, 5, 8, 8, seed=3)
    merged = apply_change(torch.zeros(6, 5, 3, 3), {"up": up, "down": down}, 1.0)
    expected = conv2d(conv2d(x, down), up)
    torch.testing.assert_close(conv2d(x, merged), expected, rtol=1e-4, atol=1e-4)


def test_a_loha_is_the_product_of_two_loras() -> None:
    parts = [random(6, 2), random(2, 5, seed=1), random(6, 2, seed=2), random(2, 5, seed=3)]
    roles = dict(zip(("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), parts, strict=True))
    expected = (parts[0] @ parts[1]) * (parts[2] @ parts[3]) * 0.5
    roles["alpha"] = torch.tensor(1.0)
    torch.testing.assert_close(apply_change(torch.zeros(6, 5), roles, 1.0), expected)


def test_a_lokr_is_a_kronecker_product() -> None:
    left, up, down = random(2, 3), random(3, 2, seed=1), random(2, 4, seed=2)
    roles = {"lokr_w1": left, "lokr_w2_a": up, "lokr_w2_b": down, "alpha": torch.tensor(4.0)}
    expected = torch.kron(left, up @ down) * 2.0
    torch.testing.assert_close(apply_change(torch.zeros(6, 12), roles, 1.0), expected)


def test_a_lokr_of_a_convolution_keeps_its_window() -> None:
    left, right = random(2, 2), random(3, 4, 3, 3, seed=1)
    got = apply_change(torch.zeros(6, 8, 3, 3), {"lokr_w1": left, "lokr_w2": right}, 1.0)
    torch.testing.assert_close(got[3:, 4:], left[1, 1] * right)


def test_a_dora_has_columns_of_its_lengths() -> None:
    weight, lengths = random(6, 5), torch.rand(1, 5) + 0.5
    roles = {"up": random(6, 2, seed=1), "down": random(2, 5, seed=2), "dora_scale": lengths}
    got = apply_change(weight, roles, 1.0)
    torch.testing.assert_close(got.norm(dim=0, keepdim=True), lengths)
    half = apply_change(weight, roles, 0.5)
    torch.testing.assert_close(half, (weight + got) / 2)


def test_a_plain_difference_changes_weights_and_biases(tiny: Checkpoint, tmp_path: Path) -> None:
    name = kohya("conv_out")
    file = write(
        tmp_path / "diff.safetensors",
        {f"{name}.diff": torch.ones(4, 32, 3, 3), f"{name}.diff_b": torch.ones(4)},
    )
    base, got = weights_of(tiny.model), weights_of(with_lora(tiny.model, file, 0.5))
    torch.testing.assert_close(got["conv_out.weight"], base["conv_out.weight"] + 0.5)
    torch.testing.assert_close(got["conv_out.bias"], base["conv_out.bias"] + 0.5)


def peft(layer: str) -> tuple[str, str]:
    return f"{layer}.lora_B.weight", f"{layer}.lora_A.weight"


NAMINGS: dict[str, Callable[[str], tuple[str, str]]] = {
    "kohya": lambda layer: (f"{kohya(layer)}.lora_up.weight", f"{kohya(layer)}.lora_down.weight"),
    "diffusers": lambda layer: peft(f"unet.{layer}"),
    "diffusers, earlier": lambda layer: (
        f"unet.{layer}.lora.up.weight",
        f"unet.{layer}.lora.down.weight",
    ),
    "peft": lambda layer: peft(f"base_model.model.{layer}"),
    "peft, named": lambda layer: (
        f"base_model.model.{layer}.lora_B.default.weight",
        f"base_model.model.{layer}.lora_A.default.weight",
    ),
}


@pytest.mark.parametrize("naming", NAMINGS)
def test_every_naming_of_a_layer_is_understood(
    naming: str, tiny: Checkpoint, tmp_path: Path
) -> None:
    up, down = random(64, 2), random(2, 32, seed=1)
    base = weights_of(tiny.model)
    names = NAMINGS[naming](LAYER)
    file = write(tmp_path / "lora.safetensors", dict(zip(names, (up, down), strict=True)))
    got = weights_of(with_lora(tiny.model, file, 1.0))
    changed = [name for name in base if not torch.equal(base[name], got[name])]
    assert changed == [f"{LAYER}.weight"]
    expected = base[changed[0]] + (up @ down).to(base[changed[0]])
    torch.testing.assert_close(got[changed[0]], expected)


@pytest.mark.parametrize(
    ("key", "layer"),
    [
        (f"diffusion_model.{ORIGINAL}.lora_up.weight", LAYER),
        (f"{kohya(ORIGINAL)}.lora_up.weight", LAYER),
        (f"unet.{LAYER.replace('to_k', 'processor.to_k_lora')}.up.weight", LAYER),
        (f"unet.{OUT.replace('to_out.0', 'processor.to_out_lora')}.up.weight", OUT),
    ],
)
def test_names_of_other_code_are_understood(
    key: str, layer: str, tiny: Checkpoint, tmp_path: Path
) -> None:
    width = 32 if "attn2" in layer else 64
    other = key.replace("up.weight", "down.weight")
    file = write(tmp_path / "f.safetensors", {key: random(64, 2), other: random(2, width)})
    (patch,) = with_lora(tiny.model, file, 1.0).patches
    assert isinstance(patch, LoraPatch)
    assert list(patch.select_names(())) == [f"{layer}.weight"]


@pytest.mark.parametrize(
    "key",
    [
        f"{kohya(TEXT, 'lora_te_')}.lora_up.weight",
        f"{kohya(TEXT, 'lora_te1_')}.lora_up.weight",
        f"text_encoder.{TEXT}.lora_B.weight",
        f"text_encoder.{TEXT}.lora_linear_layer.up.weight",
        f"text_encoder.{TEXT.replace('q_proj', 'to_q_lora')}.up.weight",
    ],
)
def test_names_of_the_text_encoder_are_understood(
    key: str, tiny: Checkpoint, tmp_path: Path
) -> None:
    other = key.replace("up.weight", "down.weight").replace("lora_B", "lora_A")
    file = write(tmp_path / "f.safetensors", {key: random(32, 2), other: random(2, 32)})
    clip = with_clip_lora(tiny.clip, file, 1.0)
    assert with_lora(tiny.model, file, 1.0) is tiny.model
    plain, got = encode_text(tiny.clip, "a fox"), encode_text(clip, "a fox")
    assert not torch.allclose(plain[0].tokens, got[0].tokens)


def test_sampling_with_a_lora_equals_sampling_a_merged_network(
    tiny: Checkpoint, tmp_path: Path
) -> None:
    model = with_lora(tiny.model, kohya_file(tmp_path / "f"), 0.7)
    merged = copy.deepcopy(tiny.model.weights.module)
    merged.load_state_dict(weights_of(model))
    expected = run(replace(tiny.model, weights=UNetWeights(merged, "merged")))
    assert torch.equal(run(model), expected)
    assert not torch.allclose(expected, run(tiny.model), rtol=1e-2)


def test_the_base_model_stays_as_it_was(tiny: Checkpoint, tmp_path: Path) -> None:
    module = tiny.model.weights.module
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    addresses = {name: weight.data_ptr() for name, weight in module.named_parameters()}
    plain = run(tiny.model)
    run(with_lora(tiny.model, kohya_file(tmp_path / "f"), 1.0))
    assert all(torch.equal(weight, before[name]) for name, weight in module.state_dict().items())
    assert {name: weight.data_ptr() for name, weight in module.named_parameters()} == addresses
    assert torch.equal(run(tiny.model), plain)


def test_a_failure_under_patches_removes_them(tiny: Checkpoint, tmp_path: Path) -> None:
    model = with_lora(tiny.model, kohya_file(tmp_path / "f"), 1.0)
    before = weights_of(tiny.model)
    with (
        pytest.raises(RuntimeError, match="stop"),
        model.weights.use(model.patches),
    ):
        raise RuntimeError("stop")
    after = weights_of(tiny.model)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_several_loras_add_up_and_the_opposite_undoes_one(tiny: Checkpoint, tmp_path: Path) -> None:
    one, two = kohya_file(tmp_path / "1"), kohya_file(tmp_path / "2", seed=9)
    both = with_lora(with_lora(tiny.model, one, 0.3), two, 0.5)
    base = weights_of(tiny.model)[f"{LAYER}.weight"]
    changes = [
        weights_of(with_lora(tiny.model, file, strength))[f"{LAYER}.weight"] - base
        for file, strength in ((one, 0.3), (two, 0.5))
    ]
    torch.testing.assert_close(weights_of(both)[f"{LAYER}.weight"], base + sum(changes))
    undone = with_lora(with_lora(tiny.model, one, 0.3), one, -0.3)
    torch.testing.assert_close(weights_of(undone)[f"{LAYER}.weight"], base)


def test_handles_differ_by_file_strength_and_order(tiny: Checkpoint, tmp_path: Path) -> None:
    one, two = kohya_file(tmp_path / "1"), kohya_file(tmp_path / "2", seed=9)
    model = tiny.model
    handles = [
        model,
        with_lora(model, one, 1.0),
        with_lora(model, one, 0.5),
        with_lora(model, two, 1.0),
        with_lora(with_lora(model, one, 1.0), two, 1.0),
        with_lora(with_lora(model, two, 1.0), one, 1.0),
    ]
    assert len({handle.fingerprint for handle in handles}) == len(handles)
    same = kohya_file(tmp_path / "copy")
    assert with_lora(model, same, 1.0).fingerprint == handles[1].fingerprint


def test_strength_0_is_the_handle_itself(tiny: Checkpoint, tmp_path: Path) -> None:
    file = kohya_file(tmp_path / "f")
    assert with_lora(tiny.model, file, 0.0) is tiny.model
    assert with_clip_lora(tiny.clip, file, 0.0) is tiny.clip


def test_an_earlier_layer_comes_from_the_changed_encoder(tiny: Checkpoint, tmp_path: Path) -> None:
    file = kohya_file(tmp_path / "f")
    skipped = replace(with_clip_lora(tiny.clip, file, 1.0), layer=-2)
    changed = with_clip_lora(replace(tiny.clip, layer=-2), file, 1.0)
    first, second = (encode_text(clip, "a fox")[0].tokens for clip in (skipped, changed))
    assert torch.equal(first, second)
    plain = encode_text(replace(tiny.clip, layer=-2), "a fox")[0].tokens
    assert not torch.allclose(first, plain)


@pytest.mark.parametrize("stored", [torch.float16, torch.float32])
def test_changed_weights_are_rounded_as_they_were_stored(
    stored: torch.dtype, tiny: Checkpoint, tmp_path: Path
) -> None:
    model = with_lora(tiny.model, kohya_file(tmp_path / "f"), 1.0)
    module = copy.deepcopy(model.weights.module).to(stored).float()
    with apply_patches(module, model.patches):
        exact = module.get_parameter(f"{LAYER}.weight").clone()
    with apply_patches(module, model.patches, rounds_to_float16=True):
        rounded = module.get_parameter(f"{LAYER}.weight").clone()
    assert torch.equal(rounded, exact.to(stored).float())


def test_a_lora_that_does_not_fit_is_rejected(tiny: Checkpoint, tmp_path: Path) -> None:
    name = kohya("down_blocks.7.attentions.0.proj_in")
    parts = {f"{name}.lora_up.weight": random(4, 1), f"{name}.lora_down.weight": random(1, 4)}
    with pytest.raises(ModelFileError, match=r"nothing in f fits: .* down_blocks_7"):
        with_lora(tiny.model, write(tmp_path / "f", parts), 1.0)
    name = kohya(LAYER)
    wrong = {f"{name}.lora_up.weight": random(64, 2), f"{name}.lora_down.weight": random(2, 48)}
    with pytest.raises(ModelFileError, match="does not fit 64×32"):
        with_lora(tiny.model, write(tmp_path / "g", wrong), 1.0)
    with pytest.raises(ModelFileError, match="does not fit 64×32"):
        with_lora(tiny.model, write(tmp_path / "i", {f"{name}.lora_up.weight": random(64, 2)}), 1.0)
    half = {f"{name}.hada_w1_a": random(64, 2)}
    with pytest.raises(ModelFileError, match="does not fit 64×32"):
        with_lora(tiny.model, write(tmp_path / "h", half), 1.0)


def test_files_of_other_kinds_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="holds no LoRA"):
        check_lora(write(tmp_path / "f", {"conv_in.weight": random(4, 4)}))
    with pytest.raises(ModelFileError, match="holds OFT adapters"):
        check_lora(write(tmp_path / "g", {"oft_unet_mid.oft_blocks": random(2, 4, 4)}))


@pytest.mark.parametrize(("width", "family"), [(768, "sd15"), (1024, "sd21"), (2048, "sdxl")])
def test_the_family_is_detected_from_the_cross_attention(
    width: int, family: str, tmp_path: Path
) -> None:
    lora = {
        f"{kohya(LAYER)}.lora_up.weight": random(64, 2),
        f"{kohya(LAYER)}.lora_down.weight": random(2, width),
    }
    assert detect_lora_family(write(tmp_path / "lora", lora)) == family
    name = kohya(LAYER)
    lokr = {f"{name}.lokr_w1": random(8, 8), f"{name}.lokr_w2": random(8, width // 8)}
    assert detect_lora_family(write(tmp_path / "lokr", lokr)) == family


def test_a_file_for_the_text_encoder_alone_has_no_family(tmp_path: Path) -> None:
    name = f"{kohya(TEXT, 'lora_te_')}.lora_up.weight"
    assert detect_lora_family(write(tmp_path / "f", {name: random(32, 2)})) is None


@pytest.mark.parametrize("shape", ["MINI", "SD15", "SDXL_MINI", "SDXL"])
def test_the_original_names_of_all_layers_are_known(shape: str) -> None:
    made = runpy.run_path(str(ROOT / "tests/goldens/model/make_random_sd15.py"))
    spec = made["Spec"]()
    prefix = "model.diffusion_model."
    made["unet"](spec, prefix, made[shape])
    infos = {key: TensorInfo("F16", tuple(size)) for key, size, *_ in spec.items}
    part = find_unet(infos)
    assert part is not None
    names = part.names
    layers = map_original_layers({name.rpartition(".")[0] for name in names.values()})
    expected = {
        key.removeprefix(prefix).rpartition(".")[0]: name.rpartition(".")[0]
        for key, name in names.items()
    }
    assert layers == expected


def test_each_of_two_text_encoders_has_its_own_change(tmp_path: Path) -> None:
    model = load_checkpoint(write_tiny_sdxl(tmp_path / "sdxl"))
    layer = "encoder.layers.0.self_attn.q_proj"
    lora = {}
    for prefix, width in (("lora_te1_", 32), ("lora_te2_", 64)):
        lora[f"{kohya(f'text_model.{layer}', prefix)}.lora_up.weight"] = random(width, 2)
        lora[f"{kohya(f'text_model.{layer}', prefix)}.lora_down.weight"] = random(2, width)
    clip = with_clip_lora(model.clip, write(tmp_path / "lora", lora), 1.0)
    (patch,) = clip.patches
    assert isinstance(patch, LoraPatch)
    assert {*patch.select_names(())} == {f"l.{layer}.weight", f"g.text_model.{layer}.weight"}
    before, after = (encode_text(encoder, "a fox")[0].tokens for encoder in (model.clip, clip))
    assert not torch.allclose(before[..., :32], after[..., :32], atol=1e-3)
    assert not torch.allclose(before[..., 32:], after[..., 32:], atol=1e-3)
