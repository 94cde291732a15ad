"""Text recipes of today's families against ComfyUI's encodings, on tiny random encoders."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from latentloom.diffusion.conditioning.text import encode_text
from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.latents.latents import Latent
from latentloom.diffusion.networks import load_text
from latentloom.diffusion.networks.handles import Clip
from latentloom.diffusion.networks.load import load_checkpoint
from latentloom.diffusion.networks.load_text import load_clip
from latentloom.diffusion.networks.vae import decode
from latentloom.diffusion.sampling.sample import SamplePlan, sample
from latentloom.diffusion.text.language_tokenizers import (
    T5_SPECIAL,
    load_language_tokenizer,
)
from latentloom.diffusion.text.prompt import parse_weights
from latentloom.diffusion.text.recipes import find_recipe
from latentloom.diffusion.text.sequence import find_prompt_start, tokenize_sequence
from latentloom.diffusion.text.tokenizers import Tokenizer
from latentloom.diffusion.weights import text_keys
from latentloom.diffusion.weights.text_keys import TextKind
from tests.diffusion.families.test_flux import make, original_keys, write
from tests.diffusion.families.test_flux_pipelines import make_vae
from tests.golden_files import Goldens
from tests.original_keys import vae_keys
from tests.paths import ROOT

FOLDER = ROOT / "tests" / "goldens" / "families"
TEXT: dict[str, Any] = json.loads((FOLDER / "text.json").read_text("utf-8"))
PROMPTS: dict[str, str] = TEXT["prompts"]
GOLDENS = Goldens("families/text_encoded.safetensors")
# Of the spread; float32 arithmetic in another order.
TOLERANCE = 1e-4


def write_weights(folder: Path, *names: str) -> None:
    """Write weight files as the goldens' generator makes them."""
    argv, path = sys.argv, sys.path
    sys.argv = ["make_weights.py", str(folder), "--only", ",".join(names)]
    sys.path = [str(FOLDER), *path]
    try:
        runpy.run_path(str(FOLDER / "make_weights.py"), run_name="__main__")
    finally:
        sys.argv, sys.path = argv, path


@pytest.fixture(autouse=True)
def narrow_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """The goldens' CLIPs have four heads and are 64 and 96 wide, which their keys do not say."""
    make_config = text_keys._make_config

    def make(*sizes: Any) -> dict[str, Any]:
        return make_config(*sizes) | {"num_attention_heads": 4}

    monkeypatch.setattr(text_keys, "_make_config", make)
    monkeypatch.setattr(text_keys, "KIND_BY_WIDTH", {64: "l", 96: "g"})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Path]]:
    folder = tmp_path_factory.mktemp("families")
    write_weights(folder, "te_qwen3", "te_qwen25", "te_t5", "te_clip_l", "te_clip_g")

    def paths(*names: str) -> list[Path]:
        return [folder / f"text_encoders/fam_te_{name}.safetensors" for name in names]

    return paths


def t5_pieces() -> dict[str, list[int]]:
    """Return the token ids of each piece of the prompts; T5's vocabulary is not at hand."""
    pieces: dict[str, list[int]] = {}
    for name, prompt in PROMPTS.items():
        (chunk,) = TEXT["recipes"]["chroma"][name]["t5xxl"]
        parts = parse_weights(prompt)
        if len(parts) == 1:
            pieces[parts[0][0]] = chunk["ids"][:-1]
    lengths = {"a ": 2, "red": 1, " fox, ": 3, "blue ": 1, "sky": 1, ", [night], ": 5, "gold": 1}
    (chunk,) = TEXT["recipes"]["chroma"]["weights"]["t5xxl"]
    rest = list(chunk["ids"])
    for piece, length in lengths.items():
        pieces[piece], rest = rest[:length], rest[length:]
    return pieces


def t5_tokenizer() -> Tokenizer:
    pieces = t5_pieces()

    def encode(text: str) -> Sequence[int]:
        return pieces[text] if text.strip() else []

    return Tokenizer(encode, T5_SPECIAL, 32_000)


@pytest.fixture
def tokenizers(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(kind: TextKind, file: Path) -> Tokenizer:
        return t5_tokenizer() if kind == "t5xxl" else load_language_tokenizer(kind, file)

    monkeypatch.setattr(load_text, "load_language_tokenizer", load)


FILES = {
    "z_image": ("lumina2", ("qwen3",)),
    "flux2_klein": ("flux2", ("qwen3",)),
    "qwen_image": ("qwen_image", ("qwen25",)),
    "flux": ("flux", ("t5", "clip_l")),
    "sd3_no_t5": ("sd3", ("clip_l", "clip_g")),
    "chroma": ("chroma", ("t5",)),
}
CASES = [case for case in TEXT["encoded"] if case.split("/")[0] in FILES]


@pytest.fixture(scope="module")
def clips() -> dict[str, Clip]:
    return {}


@pytest.mark.usefixtures("tokenizers")
@pytest.mark.parametrize("case", CASES)
def test_encodings_are_the_references(
    case: str, files: Callable[..., list[Path]], clips: dict[str, Clip]
) -> None:
    recipe, _, prompt = case.partition("/")
    if recipe not in clips:
        type, names = FILES[recipe]
        clips[recipe] = load_clip(files(*names), type)
    (entry,) = encode_text(clips[recipe], PROMPTS[prompt])
    want = GOLDENS[f"{case}/cond"]
    # Goldens leave out columns of zeros.
    assert not entry.tokens[..., want.shape[-1] :].any()
    assert_close(entry.tokens[..., : want.shape[-1]], want)
    assert (entry.pooled is not None) == (f"{case}/pooled" in GOLDENS)
    if entry.pooled is not None:
        assert_close(entry.pooled, GOLDENS[f"{case}/pooled"])


@pytest.mark.usefixtures("tokenizers")
@pytest.mark.parametrize("name", ["qwen3", "t5"])
def test_encoders_take_as_much_memory_as_their_file(
    name: str, files: Callable[..., list[Path]]
) -> None:
    (path,) = files(name)
    weights = load_clip([path], "chroma").weights
    assert weights.can_reload
    assert weights.nbytes <= 1.05 * path.stat().st_size


def assert_close(got: Tensor, want: Tensor) -> None:
    assert got.shape == want.shape
    want = want.float()
    assert (got - want).abs().max() <= TOLERANCE * want.std()


RECIPE_NAMES: dict[str, tuple[str, TextKind]] = {
    "z_image": ("lumina2", "qwen3"),
    "flux2_klein": ("flux2", "qwen3"),
    "qwen_image": ("qwen_image", "qwen25"),
}


@pytest.mark.parametrize("name", RECIPE_NAMES)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_token_ids_are_the_references(name: str, prompt: str, tmp_path: Path) -> None:
    type, kind = RECIPE_NAMES[name]
    recipe, tokenizer = find_recipe([kind], type), qwen()
    tokens = tokenize_sequence(PROMPTS[prompt], recipe, tokenizer.encode, tokenizer.special_tokens)
    (chunks,) = TEXT["recipes"][name][prompt].values()
    assert [token.id for token in tokens] == chunks[0]["ids"]
    if recipe.skips_system_turn:
        start = TEXT["encoded"].get(f"{name}/{prompt}", {"start": 34})["start"]
        assert find_prompt_start([token.id for token in tokens]) == start


@pytest.mark.usefixtures("tokenizers")
def test_a_checkpoint_in_one_file_has_the_recipe_of_its_family(
    files: Callable[..., list[Path]], tmp_path: Path
) -> None:
    clip, t5 = (load_file(path) for path in files("clip_l", "t5"))
    flux = make(joint_attention_dim=64, pooled_projection_dim=64)
    tensors = {
        **original_keys(flux, "model.diffusion_model."),
        **{f"text_encoders.clip_l.transformer.{name}": value for name, value in clip.items()},
        **{f"text_encoders.t5xxl.transformer.{name}": value for name, value in t5.items()},
        **vae_keys(make_vae(32), "vae."),
    }
    path = write(tmp_path / "flux.safetensors", tensors)
    checkpoint = load_checkpoint(path)
    families = [part.family for part in (checkpoint.model, checkpoint.clip, checkpoint.vae)]
    assert [family.label for family in families] == ["flux dev"] * 3
    assert checkpoint.vae.family.space == checkpoint.model.family.space
    (entry,) = encode_text(checkpoint.clip, PROMPTS["weights"])
    (expected,) = encode_text(load_clip(files("clip_l", "t5"), "flux"), PROMPTS["weights"])
    assert torch.equal(entry.tokens, expected.tokens)
    empty = Latent(torch.zeros(1, 16, 4, 4))
    latent = sample(checkpoint.model, empty, (entry,), (), SamplePlan(1, 1, 1.0, "euler", "simple"))
    assert decode(checkpoint.vae, latent).shape == (1, 32, 32, 3)
    write(path, {name: value for name, value in tensors.items() if ".t5xxl." not in name})
    with pytest.raises(ModelFileError, match="text encoders: expected CLIP L and T5"):
        load_checkpoint(path)


_QWEN: list[Tokenizer] = []


def qwen() -> Tokenizer:
    if not _QWEN:
        path = ROOT / "models" / "demo" / "vae" / "diffusion_pytorch_model.safetensors"
        _QWEN.append(load_language_tokenizer("qwen3", path))
    return _QWEN[0]
