"""IP-Adapters with random weights: equal to diffusers', by weight, range and mask."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentloom.diffusion.conditioning.text import encode_text
from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks.attention import find_cross_attentions
from latentloom.diffusion.networks.clip_vision import (
    ClipVision,
    check_clip_vision,
    encode_image,
    load_clip_vision,
    preprocess,
)
from latentloom.diffusion.networks.ip_adapter import (
    ImageTokens,
    IpAdapter,
    check_ip_adapter,
    encode_image_tokens,
    load_ip_adapter,
    read_adapter_layout,
)
from latentloom.diffusion.networks.load import Checkpoint
from latentloom.diffusion.networks.patch import StepState
from latentloom.diffusion.networks.patching import apply_patches
from latentloom.diffusion.patches.ip_adapter import ImagePrompt
from latentloom.diffusion.sampling.sample import SamplePlan, sample
from latentloom.diffusion.schedules.model_sampling import ModelSampling
from latentloom.engine.cache.fingerprint import Fingerprinter
from latentloom.nodes.codecs import TENSOR_FINGERPRINT

fingerprint = Fingerprinter((TENSOR_FINGERPRINT,)).fingerprint
TEXT, EMBED, HIDDEN = 32, 24, 64
PLAN = SamplePlan(seed=3, steps=3, cfg=4.0, sampler="euler", scheduler="normal")


def write_vision(folder: Path, hidden: int = HIDDEN) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        torch.manual_seed(2)
        config = CLIPVisionConfig(
            hidden_size=hidden, intermediate_size=48, num_hidden_layers=3, num_attention_heads=16,
            image_size=32, patch_size=8, projection_dim=EMBED, hidden_act="gelu",
        )  # fmt: skip
        CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


def linear(keys: dict[str, Tensor], name: str, outputs: int, inputs: int, bias: bool) -> None:
    keys[f"{name}.weight"] = torch.randn(outputs, inputs) * 0.2
    if bias:
        keys[f"{name}.bias"] = torch.randn(outputs) * 0.2


def norm(keys: dict[str, Tensor], name: str, width: int) -> None:
    keys[f"{name}.weight"] = torch.rand(width) + 0.5
    keys[f"{name}.bias"] = torch.randn(width) * 0.2


def layers(tiny: Checkpoint) -> dict[str, Tensor]:
    """Keys and values of the attention layers, numbered as in the published files."""
    torch.manual_seed(4)
    keys: dict[str, Tensor] = {}
    for index, layer in enumerate(find_cross_attentions(tiny.model.weights.module)):
        for kind in ("to_k_ip", "to_v_ip"):
            linear(keys, f"ip_adapter.{2 * index + 1}.{kind}", layer.inner_dim, TEXT, False)
    return keys


def plain_keys() -> dict[str, Tensor]:
    keys: dict[str, Tensor] = {}
    linear(keys, "image_proj.proj", 4 * TEXT, EMBED, True)
    norm(keys, "image_proj.norm", TEXT)
    return keys


def plus_keys() -> dict[str, Tensor]:
    """A resampler's weights by the names of the published files."""
    keys = {"image_proj.latents": torch.randn(1, 5, 64)}
    linear(keys, "image_proj.proj_in", 64, HIDDEN, True)
    linear(keys, "image_proj.proj_out", TEXT, 64, True)
    norm(keys, "image_proj.norm_out", TEXT)
    for index in range(4):
        name = f"image_proj.layers.{index}"
        for part in ("0.norm1", "0.norm2", "1.0"):
            norm(keys, f"{name}.{part}", 64)
        for part, outputs, inputs in (
            ("0.to_q", 64, 64), ("0.to_kv", 128, 64), ("0.to_out", 64, 64), ("1.1", 256, 64),
            ("1.3", 64, 256),
        ):  # fmt: skip
            linear(keys, f"{name}.{part}", outputs, inputs, False)
    return keys


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> ClipVision:
    return load_clip_vision(write_vision(tmp_path_factory.mktemp("vision") / "tiny"))


@pytest.fixture(scope="module", params=["plain", "plus"])
def adapter_file(
    request: pytest.FixtureRequest, tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    torch.manual_seed(5)
    own = plain_keys() if request.param == "plain" else plus_keys()
    path = tmp_path_factory.mktemp("ip") / f"{request.param}.safetensors"
    save_file({**own, **layers(tiny)}, path)
    return path


@pytest.fixture(scope="module")
def adapter(adapter_file: Path) -> IpAdapter:
    return load_ip_adapter(adapter_file)


def photo(seed: int = 1, batch: int = 1) -> Tensor:
    return torch.rand(batch, 40, 50, 3, generator=torch.Generator().manual_seed(seed))


def sampled(tiny: Checkpoint, *prompts: ImagePrompt, size: tuple[int, int] = (8, 8)) -> Tensor:
    text, empty = encode_text(tiny.clip, "a fox"), encode_text(tiny.clip, "")
    model = replace(tiny.model, patches=prompts)
    return sample(model, Latent(torch.zeros(1, 4, *size)), text, empty, PLAN).samples


def test_the_network_predicts_as_with_diffusers_adapter(
    tiny: Checkpoint, adapter: IpAdapter, adapter_file: Path, vision: ClipVision
) -> None:
    tokens = encode_image_tokens(adapter, vision, photo())
    x, context = torch.randn(2, 4, 8, 8), torch.randn(2, 7, TEXT)
    network: Any = tiny.model.weights.module
    state = StepState(ModelSampling(), sigma=1.0, sides=(0, 1))
    prompt = ImagePrompt(adapter, tokens, weight=0.7)
    with torch.no_grad(), apply_patches(network, [prompt], state=state):
        ours = network(x, torch.tensor([9.0, 9.0]), context).sample

    theirs, state = copy.deepcopy(network), load_file(adapter_file)
    parts = {
        kind: {
            name.removeprefix(f"{kind}."): weight
            for name, weight in state.items()
            if name.startswith(f"{kind}.")
        }
        for kind in ("image_proj", "ip_adapter")
    }
    theirs._load_ip_adapter_weights([parts], low_cpu_mem_usage=False)
    for processor in theirs.attn_processors.values():
        if hasattr(processor, "scale"):
            processor.scale = [0.7]
    output = encode_image(vision, photo())
    if adapter.uses_patches:
        blank = vision.weights.encode(torch.zeros(1, 3, 32, 32)).patches
        embeds = torch.stack([output.patches[0], blank[0].detach()])[:, None]
    else:
        embeds = torch.stack([output.embeds[0], torch.zeros(EMBED)])[:, None]
    with torch.no_grad():
        expected = theirs(
            x, torch.tensor([9.0, 9.0]), context, added_cond_kwargs={"image_embeds": [embeds]}
        ).sample
        plain = network(x, torch.tensor([9.0, 9.0]), context).sample
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=0)
    assert float((ours - plain).abs().max()) > 1e-3


def test_weight_0_changes_nothing_and_more_weight_changes_more(
    tiny: Checkpoint, adapter: IpAdapter, vision: ClipVision
) -> None:
    tokens = encode_image_tokens(adapter, vision, photo())
    plain = sampled(tiny)
    moved = [
        float((sampled(tiny, ImagePrompt(adapter, tokens, weight=weight)) - plain).norm())
        for weight in (0.0, 0.5, 1.0)
    ]
    assert moved[0] == 0.0
    assert 0 < moved[1] < moved[2]
    assert torch.equal(sampled(tiny), plain)


def test_an_adapter_acts_only_in_its_range(
    tiny: Checkpoint, adapter: IpAdapter, vision: ClipVision
) -> None:
    tokens = encode_image_tokens(adapter, vision, photo())
    plain, always = sampled(tiny), sampled(tiny, ImagePrompt(adapter, tokens))
    late = sampled(tiny, ImagePrompt(adapter, tokens, start=1.0))
    early = sampled(tiny, ImagePrompt(adapter, tokens, start=0.0, end=0.2))
    assert torch.equal(late, plain)
    assert not torch.equal(early, plain)
    assert not torch.equal(early, always)


def test_a_mask_limits_the_added_attention(
    tiny: Checkpoint, adapter: IpAdapter, vision: ClipVision
) -> None:
    """The network's first cross-attention, whose queries do not depend on one another."""
    tokens = encode_image_tokens(adapter, vision, photo())
    mask = torch.zeros(1, 64, 128)
    mask[:, :, 64:] = 1.0
    network: Any = tiny.model.weights.module
    layer, outputs = find_cross_attentions(network)[0], list[Tensor]()
    x, context = torch.randn(1, 4, 8, 16), torch.randn(1, 7, TEXT)
    for prompts in ([], [ImagePrompt(adapter, tokens, mask=mask)]):
        hook = layer.register_forward_hook(lambda _m, _i, out: outputs.append(out))
        state = StepState(ModelSampling(), sigma=1.0, sides=(0,))
        with torch.no_grad(), apply_patches(network, prompts, state=state):
            network(x, torch.tensor([9.0]), context)
        hook.remove()
    before, after = (output.reshape(1, 4, 8, -1) for output in outputs)
    assert torch.equal(before[:, :, :4], after[:, :, :4])
    assert not torch.equal(before[:, :, 4:], after[:, :, 4:])


def test_an_empty_mask_changes_nothing_and_a_full_mask_acts_everywhere(
    tiny: Checkpoint, adapter: IpAdapter, vision: ClipVision
) -> None:
    tokens = encode_image_tokens(adapter, vision, photo())
    for size in ((8, 8), (7, 9)):
        plain = sampled(tiny, size=size)
        unmasked = sampled(tiny, ImagePrompt(adapter, tokens), size=size)
        none, every = (
            sampled(tiny, ImagePrompt(adapter, tokens, mask=torch.full((1, 5, 5), v)), size=size)
            for v in (0.0, 1.0)
        )
        assert torch.equal(none, plain)
        torch.testing.assert_close(every, unmasked, atol=1e-4, rtol=1e-5)


def test_several_images_are_concatenated_or_averaged(
    adapter: IpAdapter, vision: ClipVision
) -> None:
    both = torch.cat([photo(1), photo(2)])
    one, two = (encode_image_tokens(adapter, vision, photo(seed)).positive for seed in (1, 2))
    joined = encode_image_tokens(adapter, vision, both)
    torch.testing.assert_close(joined.positive, torch.cat([one, two], 1), atol=1e-5, rtol=0)
    assert joined.negative.shape == joined.positive.shape
    assert encode_image_tokens(adapter, vision, both, average=True).positive.shape == one.shape


def test_fingerprints_of_prompts_depend_on_all_settings(
    adapter: IpAdapter, vision: ClipVision
) -> None:
    first, second = (encode_image_tokens(adapter, vision, photo(seed)) for seed in (1, 2))
    mask = torch.ones(1, 4, 4)
    prompts = [
        ImagePrompt(adapter, first), ImagePrompt(adapter, second),
        ImagePrompt(adapter, first, weight=0.5),
        ImagePrompt(adapter, first, end=0.5), ImagePrompt(adapter, first, mask=mask),
        ImagePrompt(adapter, first, mask=mask * 0.5),
    ]  # fmt: skip
    assert len({fingerprint(prompt) for prompt in prompts}) == len(prompts)
    assert fingerprint(ImagePrompt(adapter, ImageTokens(*first))) == fingerprint(prompts[0])


def test_patches_of_another_width_are_rejected(
    tiny: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("ip")
    save_file({**plus_keys(), **layers(tiny)}, folder / "plus.safetensors")
    vision = load_clip_vision(write_vision(folder / "wide", hidden=128))
    with pytest.raises(ModelFileError, match="another image encoder"):
        encode_image_tokens(load_ip_adapter(folder / "plus.safetensors"), vision, photo())


def test_preprocessing_equals_transformers() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import CLIPImageProcessor
    # Pillow rounds to 8 bits between rows and columns; these values avoid both ends.
    levels = (photo() * 120 + 60).round()
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    expected = processor(levels[0].byte().numpy(), return_tensors="pt").pixel_values
    torch.testing.assert_close(preprocess(levels / 255, 32), expected, atol=0.03, rtol=0)


def test_an_encoder_in_one_file_equals_its_folder(vision: ClipVision, tmp_path: Path) -> None:
    folder = write_vision(tmp_path / "tiny")
    file = load_clip_vision(folder / "model.safetensors")
    for ours, expected in zip(
        encode_image(file, photo()), encode_image(vision, photo()), strict=True
    ):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_a_projection_that_cannot_be_read_is_refused_by_the_check(
    tiny: Checkpoint, tmp_path: Path
) -> None:
    keys, path = {**plain_keys(), **layers(tiny)}, tmp_path / "adapter.safetensors"
    save_file(keys, path)
    check_ip_adapter(path)
    del keys["image_proj.norm.bias"]
    save_file(keys, path)
    with pytest.raises(ModelFileError, match=r"adapter\.safetensors: its projection"):
        check_ip_adapter(path)


def test_an_encoder_that_lacks_a_weight_is_refused_by_the_check(tmp_path: Path) -> None:
    tensors = load_file(write_vision(tmp_path) / "model.safetensors")
    del tensors["vision_model.encoder.layers.1.mlp.fc2.bias"]
    save_file(tensors, tmp_path / "cut.safetensors")
    with pytest.raises(ModelFileError, match=r"lacks the weights .*layers\.1\.mlp\.fc2\.bias"):
        check_clip_vision(tmp_path / "cut.safetensors")


@pytest.mark.parametrize("missing", ["image_proj.", "ip_adapter.", "ip_adapter.1.to_v_ip"])
def test_a_file_of_another_kind_is_rejected(missing: str, tiny: Checkpoint, tmp_path: Path) -> None:
    keys = {**plain_keys(), **layers(tiny)}
    path = tmp_path / "half.safetensors"
    save_file({name: key for name, key in keys.items() if not name.startswith(missing)}, path)
    with pytest.raises(ModelFileError, match=r"half\.safetensors is not an IP-Adapter for images"):
        read_adapter_layout(path)
