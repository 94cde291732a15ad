"""Nodes with ComfyUI's names have its inputs, defaults, ranges, choices, outputs and categories.

`tests/goldens/ports.json` holds the declarations of ComfyUI 0.3.64. Differences are listed here,
each with its reason.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

import latentloom
from latentloom.web.object_info import definition
from tests.paths import ROOT

GOLDENS: dict[str, Any] = json.loads((ROOT / "tests" / "goldens/ports.json").read_text())
REGISTRY = latentloom.registry()
NO_RESULT = "0 would divide by 0"
WIDGET = "only links are optional in the editor; API prompts may still leave it out"
SORTED = "the same choices and default, in the order of other nodes"
DIFFERENCES = {
    "CLIPLoader.device.optional": WIDGET,
    "DifferentialDiffusion.strength.optional": WIDGET,
    "DualCLIPLoader.device.optional": WIDGET,
    "EmptyLatentImage.model": "an additional input, for the native size and channels of a model",
    "ImageScaleToMaxDimension.upscale_method.options": SORTED,
    "LatentOperationTonemapReinhard.multiplier.min": NO_RESULT,
    "LoadLatent.latent.type": "the name of any file in the input folder, later ones included",
    "ModelSamplingAuraFlow.shift.min": NO_RESULT,
    "ModelSamplingSD3.shift.min": NO_RESULT,
    "ResizeAndPadImage.interpolation.options": SORTED,
    "SamplerSASolver.simple_order_2.default": "ComfyUI declares none and uses the same value",
    "SamplerSASolver.use_pece.default": "ComfyUI declares none and uses the same value",
    "SaveImage.format": "an input of this project's own, left out of files for ComfyUI",
    "SaveImage.quality": "an input of this project's own, left out of files for ComfyUI",
    "VAELoader.vae_name.options": "no supported family works on pixels",
}
SHOWN = ("type", "optional", "default", "min", "max", "step", "multiline")


def describe_node(name: str) -> dict[str, Any]:
    """Return the declaration of our node in the form of the goldens."""
    shown = definition(REGISTRY[name], lambda: ["example.png"])
    inputs: dict[str, Any] = {}
    for section, ports in shown["input"].items():
        for port, (kind, options) in ports.items():
            choices = kind if isinstance(kind, list) else options.get("options")
            values = {"type": "COMBO" if isinstance(kind, list) else kind}
            values |= {key: options[key] for key in SHOWN if key in options}
            inputs[port] = values | {"optional": section == "optional", "options": choices}
    return {
        "inputs": inputs,
        "outputs": [list(pair) for pair in zip(shown["output_name"], shown["output"], strict=True)],
        "lists": shown["output_is_list"],
        "category": shown["category"],
        "output_node": shown["output_node"],
    }


def differences(name: str) -> set[str]:
    expected, got = GOLDENS[name], describe_node(name)
    paths = {
        f"{name}.{key}"
        for key in ("outputs", "category", "output_node", "lists")
        if key in expected and expected[key] != got[key]
    }
    paths |= {f"{name}.{port}" for port in expected["inputs"].keys() ^ got["inputs"].keys()}
    for port, values in expected["inputs"].items():
        own = got["inputs"].get(port, {})
        if values["type"] == "COMBO":
            own.setdefault("default", next(iter(own.get("options") or ()), None))
        for key, value in ({"optional": False} | values).items():
            own_value = own.get(key, value if key == "step" else None)
            if own_value != value:
                paths.add(f"{name}.{port}.{key}")
        if own.get("default") is not None and "default" not in values and values["type"] != "COMBO":
            paths.add(f"{name}.{port}.default")
    order = [port for port in got["inputs"] if port in expected["inputs"]]
    if order != [port for port in expected["inputs"] if port in got["inputs"]]:
        paths.add(f"{name} order")
    return paths


def test_declarations_of_comfyuis_nodes_are_those_of_comfyui() -> None:
    paths = set().union(*(differences(name) for name in GOLDENS))
    assert paths == DIFFERENCES.keys()


def test_the_goldens_are_of_registered_nodes() -> None:
    assert len(GOLDENS) >= 160
    assert GOLDENS.keys() <= REGISTRY.keys()


@pytest.mark.parametrize("key", ["min", "max", "default"])
def test_a_changed_number_is_detected(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GOLDENS["KSampler"]["inputs"]["steps"], key, 3)
    assert differences("KSampler") == {f"KSampler.steps.{key}"}
