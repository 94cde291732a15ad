"""Nodes of ComfyUI's names have its inputs, defaults, ranges, choices, outputs and places in menus.

`tests/goldens/ports.json` says what ComfyUI 0.3.64 shows of them. Differences are listed here, each
with its reason.
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
WIDGET = "only links may be left out of a form; a prompt may leave it out all the same"
SORTED = "the same choices and the same default in the order of other nodes"
DIFFERENCES = {
    "CLIPLoader.device.optional": WIDGET,
    "DifferentialDiffusion.strength.optional": WIDGET,
    "DualCLIPLoader.device.optional": WIDGET,
    "EmptyLatentImage.model": "an input more: the native size and the channels of a model",
    "ImageScaleToMaxDimension.upscale_method.options": SORTED,
    "LatentOperationTonemapReinhard.multiplier.min": NO_RESULT,
    "LoadLatent.latent.type": "the name of any file in the input folder, those to come too",
    "ModelSamplingAuraFlow.shift.min": NO_RESULT,
    "ModelSamplingSD3.shift.min": NO_RESULT,
    "ResizeAndPadImage.interpolation.options": SORTED,
    "SamplerSASolver.simple_order_2.default": "ComfyUI says none and takes the same",
    "SamplerSASolver.use_pece.default": "ComfyUI says none and takes the same",
    "VAELoader.vae_name.options": "no family that is loaded computes in pixels",
}
SHOWN = ("type", "optional", "default", "min", "max", "step", "multiline")


def described(name: str) -> dict[str, Any]:
    """Our node, as the goldens are written."""
    shown = definition(REGISTRY[name], lambda: ["example.png"])
    inputs: dict[str, Any] = {}
    for section, ports in shown["input"].items():
        for port, (kind, options) in ports.items():
            choices = kind if isinstance(kind, list) else options.get("options")
            facts = {"type": "COMBO" if isinstance(kind, list) else kind}
            facts |= {key: options[key] for key in SHOWN if key in options}
            inputs[port] = facts | {"optional": section == "optional", "options": choices}
    return {
        "inputs": inputs,
        "outputs": [list(pair) for pair in zip(shown["output_name"], shown["output"], strict=True)],
        "lists": shown["output_is_list"],
        "category": shown["category"],
        "output_node": shown["output_node"],
    }


def differences(name: str) -> set[str]:
    want, got = GOLDENS[name], described(name)
    found = {
        f"{name}.{fact}"
        for fact in ("outputs", "category", "output_node", "lists")
        if fact in want and want[fact] != got[fact]
    }
    found |= {f"{name}.{port}" for port in want["inputs"].keys() ^ got["inputs"].keys()}
    for port, facts in want["inputs"].items():
        own = got["inputs"].get(port, {})
        if facts["type"] == "COMBO":
            own.setdefault("default", next(iter(own.get("options") or ()), None))
        for fact, value in ({"optional": False} | facts).items():
            own_value = own.get(fact, value if fact == "step" else None)
            if own_value != value:
                found.add(f"{name}.{port}.{fact}")
        if own.get("default") is not None and "default" not in facts and facts["type"] != "COMBO":
            found.add(f"{name}.{port}.default")
    order = [port for port in got["inputs"] if port in want["inputs"]]
    if order != [port for port in want["inputs"] if port in got["inputs"]]:
        found.add(f"{name} order")
    return found


def test_every_node_of_comfyuis_is_as_comfyui_shows_it() -> None:
    found = set().union(*(differences(name) for name in GOLDENS))
    assert found == DIFFERENCES.keys()


def test_the_goldens_are_of_nodes_that_are_here() -> None:
    assert len(GOLDENS) >= 160
    assert GOLDENS.keys() <= REGISTRY.keys()


@pytest.mark.parametrize("fact", ["min", "max", "default"])
def test_another_number_would_be_seen(fact: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GOLDENS["KSampler"]["inputs"]["steps"], fact, 3)
    assert differences("KSampler") == {f"KSampler.steps.{fact}"}
