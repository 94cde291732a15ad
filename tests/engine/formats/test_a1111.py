"""A1111's `parameters`: its settings become nodes, and what does not is listed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin, features

from latentloom.engine.errors import FormatError, Problem
from latentloom.engine.files.workspace import Workspace
from latentloom.engine.formats import dump_graph, load_graph, losses, parse_graph
from latentloom.engine.formats.a1111_names import file_name
from latentloom.engine.formats.a1111_text import Network, parse_parameters, read_prompt_text
from latentloom.engine.graph.graph import Graph, InputRef, Link
from latentloom.engine.graph.lint import settings_warnings
from latentloom.engine.graph.validate import check as find_problems
from latentloom.nodes import registry

TEXT = """a [red] boat, <lora:demo-duotone:0.8>, lake
EasyNegative, summer
Negative prompt: blurry,
bad
Steps: 8, Sampler: DPM++ 2M Karras, CFG scale: 4.5, Seed: 18446744073709551615, Size: 64x96, \
Model hash: abc, Model: demo, VAE: demo.safetensors, Clip skip: 2, ENSD: 31337, \
TI hashes: "EasyNegative: 123, other: 4", Version: v1.6.0"""
HIRES = "Denoising strength: 0.5, Hires upscale: 1.5, Hires steps: 4, Hires upscaler: "
COMMENT, EXIF_FOLDER, SOFTWARE = 0x9286, 0x8769, 0x0131


def graph_of(text: str) -> Graph:
    return parse_graph(text, registry())


def with_settings(more: str) -> Graph:
    return graph_of(
        f"a boat\nSteps: 8, Sampler: Euler a, Seed: 3, Size: 64x64, Model: demo, {more}"
    )


def problems(graph: Graph) -> tuple[Problem, ...]:
    return tuple(find_problems(graph, registry(), Workspace()))


def skipped(graph: Graph) -> list[str]:
    return [loss.text for loss in losses(graph, "yaml")]


def test_settings_become_nodes() -> None:
    graph = graph_of(TEXT)
    values = {id: dict(node.inputs) for id, node in graph.nodes.items()}
    sample = values["sample"]
    assert sample.items() >= {"seed": 2**64 - 1, "steps": 8, "cfg": 4.5, "denoise": 1.0}.items()
    assert (sample["sampler_name"], sample["scheduler"]) == ("dpmpp_2m", "karras")
    assert values["latent"] == {"width": 64, "height": 96, "batch_size": 1}
    assert values["model"] == {"ckpt_name": "demo"}
    assert values["lora_demo_duotone"]["lora_name"] == "demo-duotone.safetensors"
    assert values["lora_demo_duotone"]["strength_model"] == 0.8
    assert values["clip"] == {"clip": Link("lora_demo_duotone", "CLIP"), "stop_at_clip_layer": -2}
    assert values["positive"]["text"] == (
        "a (red:0.9091) boat, lake\nembedding:EasyNegative, summer"
    )
    assert values["negative"]["text"] == "blurry,\nbad"
    assert values["decode"]["vae"] == Link("vae", "VAE")
    assert graph.description.startswith("Read from A1111's parameters. Version: v1.6.0;")


def test_the_graph_is_valid_and_survives_yaml() -> None:
    graph = graph_of(TEXT.replace("VAE: demo.safetensors, ", ""))
    assert problems(graph) == ()
    assert graph_of(dump_graph(graph, "yaml", registry())) == graph


def test_what_no_node_holds_is_listed_and_a_run_warns_of_it() -> None:
    graph = graph_of(TEXT)
    assert skipped(graph) == ["left out: ENSD: 31337 (there is no node for it)"]
    assert [warning.rule for warning in settings_warnings(graph)] == ["not-carried"]


@pytest.mark.parametrize(
    ("name", "schedule", "expected"),
    [
        ("Euler a", "", ("euler_ancestral", "normal")),
        ("DPM++ SDE Karras", "", ("dpmpp_sde", "karras")),
        ("DPM++ 2M", "Karras", ("dpmpp_2m", "karras")),
        ("DPM++ 2M SDE", "Automatic", ("dpmpp_2m_sde", "exponential")),
        ("DDIM", "", ("ddim", "normal")),
        ("UniPC", "SGM Uniform", ("uni_pc", "sgm_uniform")),
    ],
)
def test_samplers_and_schedules_have_comfyuis_names(
    name: str, schedule: str, expected: tuple[str, str]
) -> None:
    more = f", Schedule type: {schedule}" if schedule else ""
    text = f"a\nSteps: 8, Sampler: {name}{more}, Seed: 3, Model: demo"
    inputs = graph_of(text).nodes["sample"].inputs
    assert (inputs["sampler_name"], inputs["scheduler"]) == expected


def test_a_sampler_without_a_name_in_comfyui_is_listed() -> None:
    graph = graph_of("a\nSteps: 8, Sampler: Restart, Seed: 3, Model: demo")
    assert graph.nodes["sample"].inputs["sampler_name"] == "euler"
    assert skipped(graph) == ["left out: Sampler: Restart (euler is used)"]


def test_latents_are_upscaled_for_the_second_pass() -> None:
    nodes = with_settings(f'{HIRES}Latent (bicubic), Hires prompt: "a ship, 2"').nodes
    assert nodes["sample"].inputs["denoise"] == 1.0
    assert nodes["upscale"].type == "LatentUpscale"
    assert nodes["upscale"].inputs["width"] == 96
    assert nodes["hires"].inputs.items() >= {"steps": 4, "denoise": 0.5, "seed": 3}.items()
    assert nodes["hires"].inputs["positive"] == Link("hires_positive", "CONDITIONING")
    assert nodes["hires_positive"].inputs["text"] == "a ship, 2"
    assert nodes["decode"].inputs["samples"] == Link("hires", "LATENT")


def test_an_upscaler_is_a_model_before_the_second_pass() -> None:
    nodes = with_settings(f"{HIRES}R-ESRGAN 4x+, Hires resize: 128x0").nodes
    assert nodes["upscaler"].inputs["model_name"] == "RealESRGAN_x4plus.pth"
    assert nodes["upscale"].inputs.items() >= {"width": 128, "height": 128}.items()
    assert nodes["hires"].inputs["latent_image"] == Link("encode", "LATENT")


def test_image_to_image_asks_for_its_source() -> None:
    graph = with_settings("Denoising strength: 0.4")
    assert graph.inputs["image"].type == "image"
    assert graph.nodes["image"].inputs["image"] == InputRef("image")
    assert graph.nodes["sample"].inputs["latent_image"] == Link("encode", "LATENT")
    assert "--input image=FILE" in skipped(graph)[0]


def test_adetailer_becomes_a_detail_pass_for_faces_alone() -> None:
    more = "ADetailer model: face_yolov8n.pt, ADetailer confidence: 0.6, "
    graph = with_settings(f"{more}ADetailer model 2nd: hand_yolov8n.pt")
    assert graph.nodes["detect"].inputs["threshold"] == 0.6
    assert graph.nodes["save"].inputs["images"] == Link("result", "IMAGE")
    assert problems(graph) == ()
    assert [text.partition(" (")[0] for text in skipped(graph)] == [
        "left out: ADetailer model: face_yolov8n.pt",
        "left out: ADetailer model 2nd: hand_yolov8n.pt",
    ]


def test_values_may_hold_commas_in_quotes_and_brackets() -> None:
    text = 'x\nSteps: 1, Seed: 2, A: "b, \\"c\\": d", B: [{"e": "f, ]", "g": [1, 2]}], C: h, i'
    settings = parse_parameters(text).settings
    assert settings["A"] == 'b, "c": d'
    assert settings["B"] == '[{"e": "f, ]", "g": [1, 2]}]'
    assert settings["C"] == "h, i"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a] b", "(a:0.9091) b"),
        ("[[a]]", "((a:0.9091):0.9091)"),
        ("[a:b:0.5] [c|d]", "[a:b:0.5] [c|d]"),
        (r"\[a\]", r"\[a\]"),
        ("a]", "a]"),
    ],
)
def test_brackets_become_weights(text: str, expected: str) -> None:
    assert read_prompt_text(text).text == expected


def test_weights_of_networks() -> None:
    text = "<lora:a> <lora:b:0.5> <lyco:c:0.1:0.2> <lora:d:te=0:unet=1.5> <lora:e:x>"
    assert read_prompt_text(text).networks == (
        Network("lora", "a", 1.0, 1.0),
        Network("lora", "b", 0.5, 0.5),
        Network("lyco", "c", 0.2, 0.1),
        Network("lora", "d", 1.5, 0.0),
        Network("lora", "e", 1.0, 1.0),
    )


def test_installed_files_are_named_with_folder_and_extension() -> None:
    installed = ("sd/Boats-v1.ckpt", "demo")
    assert file_name("boats-v1", installed) == "sd/Boats-v1.ckpt"
    assert file_name("demo", installed) == "demo"
    assert file_name("v1.5", installed) == "v1.5.safetensors"
    assert file_name("x.pt", installed) == "x.pt"


def _png(path: Path, text: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("parameters", text)
    Image.new("RGB", (4, 4)).save(path, pnginfo=info)


def _with_comment(encode: Callable[[str], bytes]) -> Callable[[Path, str], None]:
    def save(path: Path, text: str) -> None:
        exif = Image.Exif()
        exif[SOFTWARE] = "test"
        exif.get_ifd(EXIF_FOLDER)[COMMENT] = encode(text)
        Image.new("RGB", (4, 4)).save(path, exif=exif)

    return save


def _xmp(path: Path, text: str) -> None:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:g="urn:g">'
        f"<rdf:Description><g:parameters>{text.replace('<', '&lt;')}</g:parameters>"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    more: dict[str, Any] = {"xmp": packet.encode()}
    Image.new("RGB", (4, 4)).save(path, **more)


BIG = _with_comment(lambda text: b"UNICODE\0" + text.encode("utf-16-be"))
LITTLE = _with_comment(lambda text: b"UNICODE\0" + text.encode("utf-16-le"))
ASCII = _with_comment(lambda text: b"ASCII\0\0\0" + text.encode())


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("a.png", _png), ("a.jpg", BIG), ("b.jpg", LITTLE), ("c.jpg", ASCII), ("a.webp", BIG),
        ("d.jpg", _xmp), ("b.webp", _xmp),
        *([("a.avif", BIG), ("b.avif", ASCII), ("c.avif", _xmp)] if features.check("avif") else []),
    ],
)  # fmt: skip
def test_images_of_a1111_give_the_graph(
    tmp_path: Path, name: str, save: Callable[[Path, str], None]
) -> None:
    save(tmp_path / name, TEXT)
    assert load_graph(tmp_path / name, registry()) == graph_of(TEXT)


def test_xmp_with_entities_is_not_read(tmp_path: Path) -> None:
    packet = b'<!DOCTYPE a [<!ENTITY b "c">]><a prompt="{}">&b;</a>'
    more: dict[str, Any] = {"xmp": packet}
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg", **more)
    with pytest.raises(FormatError, match="an image without a graph"):
        load_graph(tmp_path / "a.jpg")


def test_other_texts_are_named(tmp_path: Path) -> None:
    _png(tmp_path / "a.png", "Rotate: 3")
    with pytest.raises(
        FormatError, match="'parameters': expected a line that begins with `Steps:`"
    ):
        load_graph(tmp_path / "a.png")


pieces = st.sampled_from(
    ["Steps: 3", "Seed: ", "Size: 0x0", ", ", "\n", '"', "[", "]", "{", "<lora:a:", ">", ":", "\\",
     "Hires upscale: 2", "Denoising strength: nan", "Model: demo", "Negative prompt:", "1e999",
     "Clip skip: -4", "ADetailer model: face", "CFG scale: x", "٣"]
)  # fmt: skip


@given(st.lists(st.one_of(pieces, st.text(max_size=5)), max_size=30).map("".join))
def test_any_text_gives_a_graph_or_a_message(text: str) -> None:
    try:
        graph = graph_of(f"{text}\nSteps: 8, Seed: 3, {text}")
    except FormatError:
        return
    assert set(graph.nodes) >= {"model", "sample", "save"}
    assert not [item for item in problems(graph) if item.kind == "wrong_type"]
