"""Rules about settings that do not fit the model's family, with a small Flux.1 in three forms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import latentloom
from latentloom.diffusion.weights.folders import MODELS_VARIABLE
from tests.diffusion.families.test_flux import make, original_keys, write

FORMS: dict[str, dict[str, Any]] = {
    "dev": {},
    "schnell": {"guidance_embeds": False},
    "fill": {"in_channels": 384},
}


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    models = tmp_path_factory.mktemp("models")
    folder = models / "diffusion_models"
    folder.mkdir()
    for name, changes in FORMS.items():
        write(folder / f"{name}.safetensors", original_keys(make(**changes)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MODELS_VARIABLE, str(models))
        yield models


def findings(
    form: str, cfg: float = 1.0, side: int = 1024, guidance: float | None = 3.5
) -> dict[str, latentloom.LintWarning]:
    link, node = latentloom.Link, latentloom.Node
    prompt = link("prompt", "CONDITIONING")
    nodes = {
        "model": node("UNETLoader", {"unet_name": f"{form}.safetensors"}),
        "prompt": node("CLIPTextEncode", {"text": ""}),
        "guidance": node("FluxGuidance", {"conditioning": prompt, "guidance": guidance or 3.5}),
        "latent": node("EmptySD3LatentImage", {"width": side, "height": side}),
        "sample": node(
            "KSampler",
            {
                "model": link("model", "MODEL"),
                "positive": prompt if guidance is None else link("guidance", "CONDITIONING"),
                "negative": prompt,
                "latent_image": link("latent", "LATENT"),
                "cfg": cfg,
            },
        ),
    }
    rules = ("cfg-of-distilled-model", "guidance-not-set", "image-small")
    return {
        warning.rule: warning
        for warning in latentloom.lint(latentloom.Graph(nodes))
        if warning.rule in rules and warning.node == "sample"
    }


@pytest.mark.parametrize("form", FORMS)
def test_fitting_settings_get_no_warning(form: str) -> None:
    assert findings(form) == {}


def test_cfg_of_a_distilled_model_is_named() -> None:
    (warning,) = findings("dev", cfg=7.0).values()
    assert (warning.rule, warning.port) == ("cfg-of-distilled-model", "cfg")
    assert "flux dev is distilled for cfg 1" in warning.text
    assert warning.hint == "cfg 1, and FluxGuidance"
    assert findings("schnell", cfg=7.0)["cfg-of-distilled-model"].hint == "cfg 1"


def test_missing_guidance_is_named_with_the_number_of_the_form() -> None:
    assert "about 3.5" in findings("dev", guidance=None)["guidance-not-set"].hint
    assert "about 30" in findings("fill", guidance=None)["guidance-not-set"].hint
    assert findings("schnell", guidance=None) == {}


def test_an_image_far_below_the_native_size_is_named() -> None:
    (warning,) = findings("dev", side=512).values()
    assert warning.rule == "image-small"
    assert "512×512 pixels; flux dev was trained at 1024×1024" in warning.text
    assert findings("dev", side=768) == {}
