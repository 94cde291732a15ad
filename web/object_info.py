"""Node definitions as ComfyUI's editor and clients read them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from latentloom.engine.formats.comfy_values import is_image, is_seed, is_widget
from latentloom.engine.formats.native_values import thaw
from latentloom.engine.node.ports import ANY, Growing
from latentloom.engine.node.spec import NodeSpec, Port

Names = Callable[[], Sequence[str]]
INPUT_FILE, OUTPUT_FILE = "input", "output"
OUTPUT_IMAGES = {
    "image_upload": True,
    "image_folder": "output",
    "remote": {
        "route": "/internal/files/output",
        "refresh_button": True,
        "control_after_refresh": "first",
    },
}
CORE = "latentloom.nodes"
EDITOR_ONLY = frozenset({"Note", "MarkdownNote", "Reroute", "PrimitiveNode"})
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z][A-Z])(?=[A-Z][a-z])")


def definitions(registry: Mapping[str, NodeSpec], images: Names) -> dict[str, Any]:
    """Return the definitions of all nodes by name.

    Args:
        images: returns the names of the images that a node may load.
    """
    return {
        name: definition(spec, images)
        for name, spec in sorted(registry.items())
        if name not in EDITOR_ONLY
    }


MATCHED, GROWING, BRANCHES = "COMFY_MATCHTYPE_V3", "COMFY_AUTOGROW_V3", "COMFY_DYNAMICCOMBO_V3"


def definition(spec: NodeSpec, images: Names) -> dict[str, Any]:
    """Return the definition of one node in the shape of /object_info."""
    inputs = _sections(spec.inputs, images)
    entry: dict[str, Any] = {
        "input": inputs,
        "input_order": {section: list(ports) for section, ports in inputs.items()},
        "output": [MATCHED if output.matched else output.type for output in spec.outputs],
        "output_is_list": [output.many for output in spec.outputs],
        "output_name": [output.name for output in spec.outputs],
        "name": spec.name,
        "display_name": _WORDS.sub(" ", spec.name),
        "description": spec.doc,
        "python_module": _python_module(spec),
        "category": spec.category,
        "output_node": spec.output_node,
    }
    if any(output.matched for output in spec.outputs):
        entry["output_matchtypes"] = [output.matched or None for output in spec.outputs]
    if any(port.many for port in spec.inputs):
        entry["is_input_list"] = True
    if spec.deprecated:
        entry["deprecated"] = True
    if spec.category.startswith("experimental"):
        entry["experimental"] = True
    return entry


def _python_module(spec: NodeSpec) -> str:
    """Return a module that the editor recognises: `nodes.x` is core, `custom_nodes.x` a pack."""
    module = spec.run.__module__
    is_core = module.startswith(f"{CORE}.")
    return module.removeprefix("latentloom.") if is_core else f"custom_nodes.{module}"


def _sections(ports: Iterable[Port], images: Names) -> dict[str, dict[str, Any]]:
    """Return the declarations of inputs by section and name."""
    sections: dict[str, dict[str, Any]] = {"required": {}, "optional": {}}
    for port in ports:
        sections[_section(port)][port.name] = input_config(port, images)
    return {section: named for section, named in sections.items() if named or section == "required"}


def _template(port: Port, growing: Growing, images: Names) -> dict[str, Any]:
    """Return the names of a group's inputs, and the declaration that they share."""
    one = input_config(replace(port, growing=None, tooltip=""), images)
    names = (
        {"names": list(growing.names)}
        if growing.names
        else {"prefix": growing.prefix or growing.item, "max": growing.high}
    )
    return {"input": {"required": {growing.item: one}}, **names, "min": growing.low}


def input_config(port: Port, images: Names) -> list[Any]:
    """Return an input as `[type, options]`, or as `[[choices], options]`."""
    if port.growing is not None:
        tip = {"tooltip": port.tooltip} if port.tooltip else {}
        return [GROWING, {**tip, "template": _template(port, port.growing, images)}]
    options: dict[str, Any] = {"tooltip": port.tooltip} if port.tooltip else {}
    if port.plain is not None:
        options["socketless"] = True
        options |= {"component": port.plain.component} if port.plain.component else {}
    if port.file is not None and port.file.kind == OUTPUT_FILE:
        return ["COMBO", {**options, **OUTPUT_IMAGES}]
    if port.file is not None and port.file.kind == INPUT_FILE:
        return [list(images()), {**options, "image_upload": True}]
    if not port.is_required and port.default is not None:
        options["default"] = thaw(port.default)
    if port.lazy:
        options["lazy"] = True
    if port.branches:
        added = [
            {"key": branch.choice, "inputs": _sections(branch.ports, images)}
            for branch in port.branches
        ]
        return [BRANCHES, {**options, "options": added}]
    if port.matched:
        template = {"template_id": port.matched, "allowed_types": port.type}
        return [MATCHED, {**options, "template": template}]
    if port.type == "COMBO":
        return [list(port.options() or ()), options]
    if port.between is not None:
        options |= {"min": port.between.low, "max": port.between.high}
        if port.between.start is not None:
            options.setdefault("default", port.between.start)
    step = port.between.step if port.between is not None else None
    if step is not None or port.type == "INT":
        options["step"] = step or 1
    if port.type == "STRING":
        options |= {"multiline": port.multiline, "dynamicPrompts": port.multiline}
    if port.seeded:
        options["control_after_generate"] = True
    return [ANY if port.type == ANY else port.type, options]


def input_replacements(registry: Mapping[str, NodeSpec]) -> dict[str, Any]:
    """Return the nodes with renamed inputs in the shape of /node_replacements."""
    return {
        name: [_replacement(spec)]
        for name, spec in sorted(registry.items())
        if any(port.former for port in spec.inputs)
    }


def _replacement(spec: NodeSpec) -> dict[str, Any]:
    """Return how the inputs of a node before its last renaming become those of today."""
    old_names = {port.name: (port.former or (port.name,))[-1] for port in spec.inputs}
    widgets: list[str] = []
    for port in filter(is_widget, spec.inputs):
        widgets.append(old_names[port.name])
        widgets += ["control_after_generate"] if is_seed(port) else []
        widgets += ["upload"] if is_image(port) else []
    return {
        "new_node_id": spec.name,
        "old_node_id": spec.name,
        "old_widget_ids": widgets,
        "input_mapping": [{"new_id": new, "old_id": old} for new, old in old_names.items()],
    }


def _section(port: Port) -> str:
    """Return the section of an input: ComfyUI requires every widget, only links are optional."""
    return "optional" if port.is_edge and not port.is_required else "required"
