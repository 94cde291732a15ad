"""The rules about the shipped nodes: each warns of its pitfall, and of nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import latentloom
from latentloom import Graph, Workspace
from tests.paths import ROOT

BASE = latentloom.load("img2img").bound()
ADVANCED = {
    "positive": "$positive.CONDITIONING", "negative": "$negative.CONDITIONING",
    "model": "$model.MODEL", "latent_image": "$encode.LATENT", "steps": 20, "cfg": 4.0,
    "sampler_name": "euler", "scheduler": "normal", "noise_seed": 1,
}  # fmt: skip


def link(text: object) -> object:
    """Return `$node.OUTPUT` as a link."""
    if isinstance(text, str) and text.startswith("$"):
        id, _, output = text[1:].partition(".")
        return latentloom.Link(id, output)
    return text


def changed(graph: Graph, **changes: object) -> Graph:
    """Set inputs, as in `sample__denoise=1`, and add nodes, as in `id=(type, inputs)`."""
    for key, value in changes.items():
        if isinstance(value, tuple):
            graph = graph.add(key, value[0])
            for name, item in value[1].items():
                graph = graph.set(f"{key}.{name}", link(item))
        else:
            graph = graph.set(key.replace("__", "."), link(value))
    return graph


def rules(graph: Graph, workspace: Workspace | None = None) -> set[tuple[str, str]]:
    """Return (rule, node) of all warnings."""
    return {(warning.rule, warning.node) for warning in latentloom.lint(graph, workspace)}


EMPTY = ("EmptyLatentImage", {"width": 128, "height": 128, "batch_size": 1})
MASK = ("SetLatentNoiseMask", {"samples": "$encode.LATENT", "mask": "$photo.MASK"})
LARGER = ("LatentUpscaleBy", {"samples": "$encode.LATENT", "scale_by": 1.5})
ERASED = (
    "VAEEncodeForInpaint",
    {"pixels": "$photo.IMAGE", "vae": "$model.VAE", "mask": "$photo.MASK"},
)
SECOND = ("KSampler", {**BASE.nodes["sample"].inputs, "denoise": 0.3})
AGAIN = ("VAEEncode", {"pixels": "$decode.IMAGE", "vae": "$model.VAE"})
CONTROL = (
    "ControlNetApplyAdvanced",
    {
        "positive": "$positive.CONDITIONING", "negative": "$negative.CONDITIONING",
        "control_net": "$net.CONTROL_NET", "image": "$photo.IMAGE",
        "strength": 1.0, "start_percent": 0.0, "end_percent": 1.0,
    },
)  # fmt: skip
NET = ("ControlNetLoader", {"control_net_name": "demo-canny"})
LORA = ("LoraLoaderModelOnly", {"model": "$model.MODEL", "lora_name": "demo-duotone.safetensors"})


def advanced(**changes: object) -> tuple[str, dict[str, object]]:
    """Return a KSamplerAdvanced with these inputs."""
    return "KSamplerAdvanced", {**ADVANCED, **changes}


def test_the_shipped_graphs_mean_what_they_say() -> None:
    paths = sorted((ROOT / "graphs").glob("*.yaml"))
    warnings_by_graph = {path.stem: latentloom.lint(latentloom.load(path)) for path in paths}
    assert len(warnings_by_graph) > 15
    assert {name: warnings for name, warnings in warnings_by_graph.items() if warnings} == {}


FIRST_HALF = {"return_with_leftover_noise": "enable", "end_at_step": 10}
LATER = {"latent_image": "$sample.LATENT", "start_at_step": 10, "add_noise": "disable"}
CASES: list[tuple[str, str, dict[str, object], dict[str, object]]] = [
    ("source-ignored", "sample", {"sample__denoise": 1.0}, {"sample__denoise": 0.99}),
    (
        "source-ignored", "sample",
        {"larger": LARGER, "sample__latent_image": "$larger.LATENT", "sample__denoise": 1.0},
        {"masked": MASK, "sample__latent_image": "$masked.LATENT", "sample__denoise": 1.0},
    ),
    (
        "empty-latent-kept", "sample",
        {"encode": EMPTY, "sample__denoise": 0.5},
        {"encode": EMPTY, "sample__denoise": 1.0},
    ),
    (
        "grey-fill-visible", "sample",
        {"encode": ERASED, "sample__denoise": 0.5},
        {"encode": ERASED, "sample__denoise": 1.0},
    ),
    (
        "soft-upscale", "sample",
        {"larger": LARGER, "sample__latent_image": "$larger.LATENT", "sample__denoise": 0.2},
        {"larger": LARGER, "sample__latent_image": "$larger.LATENT", "sample__denoise": 0.6},
    ),
    (
        "same-seed", "second",
        {"second": SECOND, "second__latent_image": "$sample.LATENT",
         "decode__samples": "$second.LATENT"},
        {"second": SECOND, "second__latent_image": "$sample.LATENT", "second__seed": 8,
         "decode__samples": "$second.LATENT"},
    ),
    (
        "noise-left", "decode",
        {"sample": advanced(**FIRST_HALF)},
        {"sample": advanced(return_with_leftover_noise="enable")},
    ),
    (
        "noise-twice", "second",
        {"sample": advanced(**FIRST_HALF), "decode__samples": "$second.LATENT",
         "second": advanced(**{**LATER, "add_noise": "enable"})},
        {"sample": advanced(**FIRST_HALF), "decode__samples": "$second.LATENT",
         "second": advanced(**LATER)},
    ),
    (
        "noise-twice", "second",
        {"sample": advanced(end_at_step=10), "decode__samples": "$second.LATENT",
         "second": advanced(**LATER)},
        {"sample": advanced(end_at_step=10), "decode__samples": "$second.LATENT",
         "second": advanced(**{**LATER, "add_noise": "enable"})},
    ),
    (
        "no-steps", "sample",
        {"sample": advanced(start_at_step=20)},
        {"sample": advanced(start_at_step=19)},
    ),
    ("no-change", "sample", {"sample__denoise": 0.0}, {"sample__denoise": 0.01}),
    (
        "negative-ignored", "sample",
        {"sample__cfg": 1.0, "negative__text": "fog"},
        {"sample__cfg": 1.0, "negative__text": ""},
    ),
    (
        "control-ignored", "control",
        {"net": NET, "control": CONTROL, "control__strength": 0.0,
         "sample__positive": "$control.positive"},
        {"net": NET, "control": CONTROL, "sample__positive": "$control.positive"},
    ),
    (
        "control-ignored", "control",
        {"net": NET, "control": CONTROL, "control__start_percent": 0.6,
         "control__end_percent": 0.4, "sample__positive": "$control.positive"},
        # A step at the limit of the range is controlled.
        {"net": NET, "control": CONTROL, "control__start_percent": 0.5,
         "control__end_percent": 0.5, "sample__positive": "$control.positive"},
    ),
    (
        "lora-ignored", "lora",
        {"lora": LORA, "lora__strength_model": 0.0, "sample__model": "$lora.MODEL"},
        {"lora": LORA, "lora__strength_model": -0.5, "sample__model": "$lora.MODEL"},
    ),
    (
        "round-trip", "again",
        {"again": AGAIN, "second": SECOND, "second__latent_image": "$again.LATENT",
         "last": ("VAEDecode", {"samples": "$second.LATENT", "vae": "$model.VAE"}),
         "save__images": "$last.IMAGE"},
        {},
    ),
    (
        "mask-over-nothing", "masked",
        {"encode": EMPTY, "masked": MASK, "sample__latent_image": "$masked.LATENT"},
        {"masked": MASK, "sample__latent_image": "$masked.LATENT"},
    ),
    (
        "mask-replaced", "masked",
        {"encode": ERASED, "masked": MASK, "sample__latent_image": "$masked.LATENT"},
        {"masked": MASK, "sample__latent_image": "$masked.LATENT"},
    ),
    ("unused", "larger", {"larger": LARGER}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "node", "bad", "good"), CASES)
def test_a_rule_warns_of_the_pitfall_and_of_nothing_else(
    rule: str, node: str, bad: dict[str, object], good: dict[str, object]
) -> None:
    wrong, right = changed(BASE, **bad), changed(BASE, **good)
    assert latentloom.check(wrong) == ()
    assert latentloom.check(right) == ()
    assert (rule, node) in rules(wrong)
    assert rule not in {name for name, _ in rules(right)}


@pytest.mark.parametrize(
    ("size", "is_reported"), [((128, 128), False), ((64, 64), False), ((128, 96), True)]
)
def test_a_mask_of_other_proportions_than_its_image_is_named(
    size: tuple[int, int], is_reported: bool, tmp_path: Path
) -> None:
    Image.new("L", size).save(tmp_path / "mask.png")
    mask = ("LoadImageMask", {"image": "mask.png", "channel": "red"})
    grown = ("GrowMask", {"mask": "$mask.MASK", "expand": 2, "tapered_corners": True})
    set_mask = ("SetLatentNoiseMask", {"samples": "$encode.LATENT", "mask": "$grown.MASK"})
    graph = changed(
        BASE, mask=mask, grown=grown, masked=set_mask, sample__latent_image="$masked.LATENT"
    )
    workspace = latentloom.workspace(graph, input_dir=tmp_path)
    assert (("mask-stretched", "masked") in rules(graph, workspace)) is is_reported


MASKS = {
    "sample.latent_image": MASK,
    "sample.latent_image ": ERASED,
    "sample.positive": ("ConditioningSetMask", {"conditioning": "$positive.CONDITIONING"}),
}


@pytest.mark.parametrize("use", MASKS)
@pytest.mark.parametrize(
    ("mode", "options", "is_reported"),
    [
        ("RGB", {}, True),
        ("L", {}, True),
        ("I;16", {}, True),
        ("P", {}, True),
        ("RGBA", {}, False),
        ("LA", {}, False),
        ("P", {"transparency": 0}, False),
        ("L", {"transparency": 0}, False),
    ],
)
def test_the_mask_of_an_image_without_alpha_is_named(
    use: str, mode: str, options: dict[str, Any], is_reported: bool, tmp_path: Path
) -> None:
    Image.new(mode, (64, 64)).save(tmp_path / "photo.png", **options)
    type_name, inputs = MASKS[use]
    graph = changed(BASE, own=("LoadImage", {"image": "photo.png"}), user=(type_name, inputs))
    graph = changed(graph, grown=("GrowMask", {"mask": "$own.MASK"}))
    graph = graph.set(use.strip(), latentloom.Link("user", 0))
    workspace = latentloom.workspace(BASE, input_dir=tmp_path)
    for source in ("$own.MASK", "$grown.MASK"):
        named = rules(changed(graph, user__mask=source), workspace)
        assert (("mask-empty", "user") in named) is is_reported


def test_masks_of_a_channel_and_inverted_ones_are_not_empty(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.png")
    workspace = latentloom.workspace(BASE, input_dir=tmp_path)
    red = ("LoadImageMask", {"image": "photo.png", "channel": "red"})
    opaque = ("LoadImage", {"image": "photo.png"})
    inverted = ("InvertMask", {"mask": "$opaque.MASK"})
    for source in ("$red.MASK", "$inverted.MASK"):
        masked = ("SetLatentNoiseMask", {"samples": "$encode.LATENT", "mask": source})
        graph = changed(
            BASE, red=red, opaque=opaque, inverted=inverted, masked=masked,
            sample__latent_image="$masked.LATENT",
        )  # fmt: skip
        assert "mask-empty" not in {name for name, _ in rules(graph, workspace)}


@pytest.mark.parametrize(("side", "is_reported"), [(2048, False), (2049, True)])
def test_a_photo_at_its_full_size_is_advised_against(
    side: int, is_reported: bool, tmp_path: Path
) -> None:
    Image.new("L", (side, side)).save(tmp_path / "photo.png")
    workspace = latentloom.workspace(BASE, input_dir=tmp_path)
    large = changed(BASE, photo__image="photo.png")
    assert (("image-large", "sample") in rules(large, workspace)) is is_reported
    scale = ("ImageScaleToTotalPixels", {"image": "$photo.IMAGE", "megapixels": 1.0})
    scaled = changed(large, scale=scale, encode__pixels="$scale.IMAGE")
    tiles = ("TiledDiffusion", {"model": "$model.MODEL"})
    tiled = changed(large, tiles=tiles, sample__model="$tiles.MODEL")
    assert not rules(scaled, workspace) | rules(tiled, workspace)


def test_frames_of_an_image_that_are_not_read_are_named(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "photo.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "photo.png")
    workspace = latentloom.workspace(BASE, input_dir=tmp_path)
    for name, is_reported in (("photo.gif", True), ("photo.png", False)):
        named = rules(changed(BASE, photo__image=name), workspace)
        assert (("image-unread", "photo") in named) is is_reported


def test_what_is_linked_proves_nothing() -> None:
    seed = ("PrimitiveInt", {"value": 7})
    graph = changed(
        BASE, seed=seed, second=SECOND, second__latent_image="$sample.LATENT",
        second__seed="$seed.INT", decode__samples="$second.LATENT",
    )  # fmt: skip
    assert rules(graph) == set()
