"""Prompts with images: ids and sizes as in ComfyUI, encodings as in transformers."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from latentloom.diffusion.conditioning.edit_prompts import (
    AREA,
    CELL_PX,
    NUMBERED,
    VISION_AREA,
    encode_edit,
    encode_edit_plus,
    fit_area,
)
from latentloom.diffusion.errors import PromptError, UnsuitableValueError
from latentloom.diffusion.images.vision_patches import image_positions, make_patches
from latentloom.diffusion.networks.handles import Clip
from latentloom.diffusion.networks.load_text import load_clip
from latentloom.diffusion.text.clip_files import check_clip_files
from latentloom.diffusion.text.language_tokenizers import load_language_tokenizer
from latentloom.diffusion.text.recipes import EDIT_TEMPLATE, IMAGE, find_recipe
from latentloom.diffusion.text.sequence import find_prompt_start, tokenize_sequence
from latentloom.diffusion.text.tokenizers import Tokenizer
from tests.paths import ROOT

TEXT: dict[str, Any] = json.loads((ROOT / "tests/goldens/families/text.json").read_text("utf-8"))
IMAGE_ID = 151655
LANGUAGE: dict[str, Any] = {
    "vocab_size": 151_700, "hidden_size": 256, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
}  # fmt: skip
VISION: dict[str, Any] = {
    "depth": 1, "hidden_size": 160, "intermediate_size": 64, "num_heads": 2,
    "out_hidden_size": 256, "fullatt_block_indexes": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def network() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel
    torch.manual_seed(0)
    config = Qwen2_5_VLConfig(text_config=LANGUAGE, vision_config=VISION)
    module = Qwen2_5_VLModel(config).eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter.data = parameter.data.half().float()
    return module


@pytest.fixture(scope="module")
def file(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network by the keys of its own code, in float16."""
    weights: dict[str, Tensor] = {}
    for name, weight in network.state_dict().items():
        name = name.replace("language_model.", "model.")
        weights[name] = weight.half().clone()
    path: Path = tmp_path_factory.mktemp("qwen25") / "encoder.safetensors"
    save_file(weights, path)
    check_clip_files((path,), "qwen_image")
    return path


@pytest.fixture(scope="module")
def clip(file: Path) -> Clip:
    return load_clip((file,), "qwen_image")


@lru_cache
def load_tokenizer(file: Path) -> Tokenizer:
    return load_language_tokenizer("qwen25", file)


def recipe_ids(text: str, file: Path) -> list[int]:
    recipe = replace(find_recipe(["qwen25"], "qwen_image"), template=EDIT_TEMPLATE)
    tokenizer = load_tokenizer(file)
    tokens = tokenize_sequence(text, recipe, tokenizer.encode, tokenizer.special_tokens)
    return [token.id for token in tokens]


@pytest.mark.parametrize("prompt", TEXT["prompts"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("qwen_image_edit", IMAGE),
        ("qwen_image_edit_plus_0", ""),
        ("qwen_image_edit_plus_1", NUMBERED.format(1) + IMAGE),
        ("qwen_image_edit_plus_2", NUMBERED.format(1) + IMAGE + NUMBERED.format(2) + IMAGE),
    ],
)
def test_token_ids_are_the_references(name: str, words: str, prompt: str, file: Path) -> None:
    (chunks,) = (
        value for key, value in TEXT["recipes"][name][prompt].items() if key.startswith("qwen")
    )
    want = [IMAGE_ID if id == "IMAGE" else id for id in chunks[0]["ids"]]
    got = recipe_ids(words + TEXT["prompts"][prompt], file)
    assert got == want
    assert find_prompt_start(got) == 64


@pytest.mark.parametrize("size", TEXT["qwen_edit_picture_sizes"])
def test_images_are_resized_as_in_the_reference(size: str) -> None:
    height, width = map(int, size.split("x"))
    want = TEXT["qwen_edit_picture_sizes"][size]
    assert [[*fit_area(height, width, AREA)]] == want["edit"]["vision"]
    assert [[*fit_area(height, width, VISION_AREA)]] == want["edit_plus"]["vision"]
    assert [[*fit_area(height, width, AREA, CELL_PX)]] == want["edit_plus"]["vae"]


def test_patches_are_those_of_transformers() -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
        Qwen2VLImageProcessorPil,
    )

    image = np.random.default_rng(0).integers(0, 256, (56, 84, 3), dtype=np.uint8)
    want = Qwen2VLImageProcessorPil()([image], return_tensors="pt")
    got = make_patches(torch.from_numpy(image)[None].float() / 255)
    assert [1, got.rows, got.columns] == want["image_grid_thw"][0].tolist()
    assert torch.allclose(got.pixels, torch.as_tensor(want["pixel_values"]), atol=1e-5)


def test_prompts_with_images_are_encoded_as_by_transformers(
    clip: Clip, network: Any, file: Path
) -> None:
    images = [torch.rand(1, 48, 80, 3), torch.rand(1, 64, 40, 3)]
    (entry,) = encode_edit_plus(clip, "a hat", images, None)
    sizes = [fit_area(image.shape[1], image.shape[2], VISION_AREA) for image in images]
    patches = [
        make_patches(torch.nn.functional.interpolate(image.movedim(-1, 1), size, mode="area")
                     .movedim(1, -1))
        for image, size in zip(images, sizes, strict=True)
    ]  # fmt: skip
    words = "".join(NUMBERED.format(number) + IMAGE for number in (1, 2))
    ids: list[int] = []
    rest = [image.rows * image.columns // 4 for image in patches]
    for id in recipe_ids(f"{words}a hat", file):
        ids += [id] * (rest.pop(0) if id == IMAGE_ID else 1)
    tokens = torch.tensor([ids])
    with torch.no_grad():
        want = network(
            input_ids=tokens,
            pixel_values=torch.cat([image.pixels for image in patches]),
            image_grid_thw=torch.tensor([[1, image.rows, image.columns] for image in patches]),
            mm_token_type_ids=(tokens == IMAGE_ID).int(),
        ).last_hidden_state[:, 64:]
    assert entry.tokens.shape == want.shape
    assert (entry.tokens - want).abs().max() <= 1e-4 * want.std()
    assert entry.references == ()


def test_positions_of_an_image_start_after_the_text() -> None:
    positions = image_positions((2, 3), 5)
    assert positions[0].tolist() == [5] * 6
    assert positions[1].tolist() == [5, 5, 5, 6, 6, 6]
    assert positions[2].tolist() == [5, 6, 7] * 2


def test_a_text_encoder_that_cannot_see_is_an_error(clip: Clip, file: Path) -> None:
    from safetensors.torch import load_file

    blind = file.with_name("blind.safetensors")
    weights = {key: value for key, value in load_file(file).items() if "visual" not in key}
    save_file(weights, blind)
    other = load_clip((blind,), "qwen_image")
    with pytest.raises(PromptError, match="no vision tower"):
        encode_edit(other, "a hat", torch.rand(1, 32, 32, 3), None)
    with pytest.raises(UnsuitableValueError, match="ratio"):
        encode_edit(clip, "a hat", torch.rand(1, 1, 100, 3), None)
