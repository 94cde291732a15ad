"""Nodes with ComfyUI's names have its inputs, defaults, ranges, choices, outputs and categories.

`tests/goldens/ports.json` holds the declarations of ComfyUI 0.33. Differences are listed here,
each with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

import latentloom
from latentloom.web.object_info import BRANCHES, GROWING, MATCHED, definition
from tests.paths import ROOT

GOLDENS: dict[str, Any] = json.loads((ROOT / "tests" / "goldens/ports.json").read_text())
REGISTRY = latentloom.registry()
NO_RESULT = "0 would divide by 0"
WIDGET = "only links are optional in the editor; API prompts may still leave it out"
NO_EXR = "OpenEXR files are not written"
SORTED = "the same choices and default, in the order of other nodes"
OLDER = "as in 0.3.64"
DIFFERENCES = {
    "CFGNorm.pre_cfg": "only its default is known",
    "CLIPLoader.device.optional": WIDGET,
    "DifferentialDiffusion.strength.optional": WIDGET,
    "DualCLIPLoader.device.optional": WIDGET,
    "EmptyLatentImage.model": "an additional input, for the native size and channels of a model",
    "ImageScaleToMaxDimension.upscale_method.options": SORTED,
    "LatentOperationTonemapReinhard.multiplier.min": NO_RESULT,
    "LoadLatent.latent.type": "the name of any file in the input folder, later ones included",
    "ModelSamplingAuraFlow.shift.min": NO_RESULT,
    "ModelSamplingDiscrete.sampling.options": OLDER,
    "ModelSamplingSD3.shift.min": NO_RESULT,
    "RegexReplace.case_insensitive.optional": WIDGET,
    "RegexReplace.count.optional": WIDGET,
    "RegexReplace.dotall.optional": WIDGET,
    "RegexReplace.multiline.optional": WIDGET,
    "ResizeAndPadImage.interpolation.options": SORTED,
    "SamplerSASolver.simple_order_2.default": "ComfyUI declares none and uses the same value",
    "SamplerSASolver.use_pece.default": "ComfyUI declares none and uses the same value",
    "SaveImageAdvanced.format.bit_depth": NO_EXR,
    "SaveImageAdvanced.format.input_color_space": NO_EXR,
    "SaveImage.format": "an input of this project's own, left out of files for ComfyUI",
    "SaveImage.quality": "an input of this project's own, left out of files for ComfyUI",
}
SHOWN = ("type", "optional", "default", "min", "max", "step", "multiline")


def describe_node(name: str) -> dict[str, Any]:
    """Return the declaration of our node in the form of the goldens."""
    shown = definition(REGISTRY[name], lambda: ["example.png"])
    return {
        "inputs": describe_inputs(shown["input"]),
        "outputs": [list(pair) for pair in zip(shown["output_name"], shown["output"], strict=True)],
        "lists": shown["output_is_list"],
        "category": shown["category"],
        "output_node": shown["output_node"],
    }


def describe_inputs(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        name: describe_input(*config) | {"optional": section == "optional"}
        for section, ports in sections.items()
        for name, config in ports.items()
    }


def describe_input(kind: str | list[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return an input, with those that a choice adds, or that a group is made of."""
    shown: dict[str, Any] = {"type": "COMBO" if isinstance(kind, list) else kind}
    shown |= {key: options[key] for key in SHOWN if key in options}
    shown["options"] = kind if isinstance(kind, list) else options.get("options")
    if kind == BRANCHES:
        shown["options"] = None
        shown["branches"] = {
            branch["key"]: describe_inputs(branch["inputs"]) for branch in options["options"]
        }
    if kind == MATCHED:
        shown["template"] = options["template"]
    if kind == GROWING:
        template = options["template"]
        shown["template"] = template | {"input": describe_inputs(template["input"])}
    return shown


def differences(name: str) -> set[str]:
    expected, got = GOLDENS[name], describe_node(name)
    paths = {
        f"{name}.{key}"
        for key in ("outputs", "category", "output_node", "lists")
        if key in expected and expected[key] != got[key]
    }
    paths |= ports_differences(name, expected["inputs"], got["inputs"])
    order = [port for port in got["inputs"] if port in expected["inputs"]]
    if order != [port for port in expected["inputs"] if port in got["inputs"]]:
        paths.add(f"{name} order")
    return paths


def input_differences(path: str, values: Mapping[str, Any], own: dict[str, Any]) -> set[str]:
    paths = set()
    if values["type"] == "COMBO":
        own.setdefault("default", next(iter(own.get("options") or ()), None))
    for key, value in {"optional": False, **values}.items():
        own_value: Any = own.get(key, value if key == "step" else None)
        if key == "branches":
            for choice in value.keys() | own_value.keys():
                paths |= ports_differences(path, value.get(choice, {}), own_value.get(choice, {}))
        elif key == "template" and "input" in value:
            paths |= ports_differences(path, value["input"], own_value["input"])
            if value | {"input": 0} != own_value | {"input": 0}:
                paths.add(f"{path}.{key}")
        elif own_value != value:
            paths.add(f"{path}.{key}")
    has_default = "default" in values or values["type"] in ("COMBO", BRANCHES)
    if own.get("default") is not None and not has_default:
        paths.add(f"{path}.default")
    return paths


def ports_differences(path: str, expected: Mapping[str, Any], got: Mapping[str, Any]) -> set[str]:
    paths = {f"{path}.{port}" for port in expected.keys() ^ got.keys()}
    for port in expected.keys() & got.keys():
        paths |= input_differences(f"{path}.{port}", expected[port], got[port])
    return paths


def test_declarations_of_comfyuis_nodes_are_those_of_comfyui() -> None:
    paths = set().union(*(differences(name) for name in GOLDENS))
    assert paths == DIFFERENCES.keys()


def test_the_goldens_are_of_registered_nodes() -> None:
    assert len(GOLDENS) >= 160
    assert GOLDENS.keys() <= REGISTRY.keys()


@pytest.mark.parametrize("key", ["min", "max", "default"])
def test_a_changed_number_is_detected(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GOLDENS["EmptyImage"]["inputs"]["width"], key, 3)
    assert differences("EmptyImage") == {f"EmptyImage.width.{key}"}
