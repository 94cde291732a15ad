"""Load text encoders and their tokenizers from files and from diffusers folders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..errors import ModelFileError
from ..families.family import Family
from ..text.clip_files import detect_clip_family, detect_recipe
from ..text.language_tokenizers import load_language_tokenizer
from ..text.recipes import CLIP_RECIPE, TextRecipe
from ..text.tokenizers import Tokenizer, load_clip_l_tokenizer, load_tokenizer
from ..weights.detect import find_text_folders, has_projection
from ..weights.language_keys import MROPE_SECTION, ROPE_THETA
from ..weights.single_file import read_contents
from ..weights.text_keys import KIND_BY_WIDTH, KIND_ORDER, StoredTextEncoder, TextKind
from .handles import Clip
from .narrow import compute_wide
from .network_files import load_network_file, load_network_folder, load_shared
from .weights import TextEncoder, TextWeights

# Models with OpenCLIP-H use its last layer but one, so that many files leave out the last.
H_LAYERS = 24
OPEN_CLIP_PAD = 0


def load_clip(paths: Sequence[Path], type: str = "stable_diffusion", on_cpu: bool = False) -> Clip:
    """Load the text encoders of files.

    Args:
        type: of the loaders; selects the recipe.

    Raises:
        ModelFileError: one is corrupt, or they do not belong together.
        UnsuitableValueError: no recipe combines them.
    """
    recipe, family = detect_recipe(paths, type), detect_clip_family(paths, type)
    files = [(path, stored) for path in paths for stored in read_contents(path).text_encoders]
    files.sort(key=lambda file: KIND_ORDER.index(file[1].kind))
    return Clip(load_text_files(files, family, on_cpu, recipe), family, recipe=recipe)


def load_text_files(
    files: Sequence[tuple[Path, StoredTextEncoder]],
    family: Family,
    on_cpu: bool = False,
    recipe: TextRecipe = CLIP_RECIPE,
) -> TextWeights:
    """Load text encoders from the files that hold them.

    Raises:
        ModelFileError: one is corrupt, or its tokenizer is missing.
    """

    def make(digest: str) -> TextWeights:
        encoders = [_load_file(path, stored, family, recipe) for path, stored in files]
        return TextWeights(encoders, digest, torch.device("cpu") if on_cpu else None)

    part = f"text_encoder{' on the CPU' if on_cpu else ''} of {family.name}"
    return load_shared(part, make, *dict.fromkeys(path for path, _ in files))


def _load_file(
    path: Path, stored: StoredTextEncoder, family: Family, recipe: TextRecipe
) -> TextEncoder:
    if not stored.is_clip:
        return _load_language_model(path, stored)
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    kind = CLIPTextModelWithProjection if stored.has_projection else CLIPTextModel
    config = stored.network.config

    module = load_network_file(
        path, stored.network, lambda: kind(CLIPTextConfig(**config)), torch.float32
    )
    tokenizer = load_clip_l_tokenizer()
    if stored.kind != "l":
        special_tokens = tokenizer.special_tokens._replace(pad=OPEN_CLIP_PAD)
        tokenizer = replace(tokenizer, special_tokens=special_tokens)
    _check_vocabulary(path.name, tokenizer, config["vocab_size"])
    encoder = _make_encoder(stored.kind, module, tokenizer, family, config["num_hidden_layers"])
    if recipe.join == "sd3":
        encoder = replace(encoder, layer=-2, final_norm=False)
    is_projected = recipe == CLIP_RECIPE or stored.kind != "l"
    return replace(encoder, is_projected=is_projected)


def _load_language_model(path: Path, stored: StoredTextEncoder) -> TextEncoder:
    build, config = _language_networks()[stored.kind], stored.network.config
    module = load_network_file(
        path, stored.network, lambda: build(config), torch.float32, is_narrow=True
    )
    compute_wide(module)
    tokenizer = load_language_tokenizer(stored.kind, path)
    _check_vocabulary(path.name, tokenizer, config["vocab_size"])
    return TextEncoder(stored.kind, module, tokenizer)


def _language_networks() -> dict[TextKind, Callable[[dict[str, Any]], torch.nn.Module]]:
    return {"t5xxl": _make_t5, "qwen3": _make_qwen3, "qwen25": _make_qwen25}


def _make_t5(config: dict[str, Any]) -> torch.nn.Module:
    from transformers import T5Config
    from transformers.models.t5.modeling_t5 import T5Stack

    values = {**config, "d_model": config["hidden_size"]}
    del values["hidden_size"]
    module: torch.nn.Module = T5Stack(T5Config(**values, is_decoder=False, use_cache=False))
    return module


def _make_qwen3(config: dict[str, Any]) -> torch.nn.Module:
    from transformers import Qwen3Config, Qwen3Model

    module: torch.nn.Module = Qwen3Model(Qwen3Config(**_language_config(config)))
    return module


def _make_qwen25(config: dict[str, Any]) -> torch.nn.Module:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel, Qwen2Config, Qwen2Model

    language = _language_config(config)
    if "vision" not in config:
        module: torch.nn.Module = Qwen2Model(Qwen2Config(**language))
        return module
    rope = {**language.pop("rope_parameters"), "mrope_section": [*MROPE_SECTION]}
    language["rope_parameters"] = rope
    whole_config = Qwen2_5_VLConfig(text_config=language, vision_config=config["vision"])
    vision: torch.nn.Module = Qwen2_5_VLModel(whole_config)
    return vision


def _language_config(config: dict[str, Any]) -> dict[str, Any]:
    values = {key: value for key, value in config.items() if key not in ("vision", "has_bias")}
    rope = {"rope_type": "default", "rope_theta": ROPE_THETA}
    # Hidden states are those of the layers; the last is not replaced by its norm.
    return {
        **values, "rope_parameters": rope, "tie_last_hidden_states": False, "use_cache": False,
    }  # fmt: skip


def _make_encoder(
    kind: TextKind, module: torch.nn.Module, tokenizer: Tokenizer, family: Family, layers: int
) -> TextEncoder:
    """Make a text encoder with the layer that its family uses."""
    encoder = TextEncoder(kind, module, tokenizer)
    if family.size_inputs != "none":
        return replace(encoder, layer=-2, final_norm=False)
    if kind == "h":
        return replace(encoder, layer=-2, dropped=int(layers == H_LAYERS - 1))
    return encoder


def load_text_folders(path: Path, family: Family) -> TextWeights:
    folders = find_text_folders(path)

    def make(digest: str) -> TextWeights:
        encoders = [
            _load_text_folder(path / encoder, path / tokenizer, family)
            for encoder, tokenizer in folders
        ]
        return TextWeights(encoders, digest)

    paths = [path / name for pair in folders for name in pair]
    return load_shared("text_encoder", make, *paths)


def _load_text_folder(folder: Path, tokenizer_folder: Path, family: Family) -> TextEncoder:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = load_tokenizer(tokenizer_folder)
    network: Any = CLIPTextModelWithProjection if has_projection(folder) else CLIPTextModel
    module = load_network_folder(network, folder, torch.float32)
    config = module.config
    _check_vocabulary(folder.parent.name, tokenizer, config.vocab_size)
    second: TextKind = "g" if folder.name.endswith("_2") else "l"
    kind = KIND_BY_WIDTH.get(config.hidden_size, second)
    return _make_encoder(kind, module, tokenizer, family, config.num_hidden_layers)


def _check_vocabulary(name: str, tokenizer: Tokenizer, size: int) -> None:
    max_id = tokenizer.max_id
    if max_id >= size:
        raise ModelFileError(
            f"{name}: the tokenizer has token {max_id}, the text encoder only {size} tokens"
        )
