"""Widget values of a node in an editor's file, by position or by name, as inputs of the node."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from ..node.spec import NodeSpec, Port
from .known_nodes import KnownNode, has_dynamic_prompt, is_own_input

INPUT_FILE = "input"
MAX_DEPTH = 32
EDITOR_WIDGETS = frozenset({"control_after_generate", "upload", "videopreview"})
"""Widgets that the editor itself adds to nodes, and saves by name."""
BUTTONS = (None, "", "image", "fixed", "increment", "decrement", "randomize")
"""Values of buttons and control modes that the editor saves after those of widgets."""
OLD_SAMPLER_PREFIX = "sample_"
"""Before the names of samplers in early files: `sample_euler`."""
CONTROLS = frozenset({"fixed", "increment", "decrement", "randomize"})
_NUMBERS: Mapping[str, Callable[[float], int | float]] = {"INT": int, "FLOAT": float}
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_CHOICE = re.compile(r"(?<!\\)\{([^{}]*)(?<!\\)\}")
_INT = re.compile(r"\s*[-+]?[0-9]{1,400}\s*\Z")
_FLOAT = re.compile(r"\s*[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?\s*\Z")
_ESCAPED = re.compile(r"\\([{}|])")


def is_widget(port: Port) -> bool:
    """Return whether the editor shows a widget for an input."""
    return port.plain is not None or port.type in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


def connects(first: str, second: str) -> bool:
    """Return whether the editor allows a link between two types, `*` and lists included."""
    if first in ("", "*", "0") or second in ("", "*", "0"):
        return True
    return bool(set(first.lower().split(",")) & set(second.lower().split(",")))


def is_seed(port: Port) -> bool:
    """Return whether the editor adds a widget after this one: what to do with it after a run."""
    return port.seeded or port.name in ("seed", "noise_seed")


def is_image(port: Port) -> bool:
    """Return whether the widget names an image, so that the editor adds an upload button."""
    return port.file is not None and port.file.kind == INPUT_FILE


def widget_values(
    spec: NodeSpec,
    node: Mapping[str, Any],
    outer: Mapping[str, Any],
    literal: Container[str] = (),
) -> dict[str, Any]:
    """Return the values of a node's widgets by name: those of the file, else their defaults.

    Args:
        outer: values that a subgraph around the node gives to its widgets.
        literal: inputs whose texts are used as they are, without choosing between `{a|b}`.
    """
    values = held_values(spec, node, outer)
    read = {
        name: read_widget(spec, spec.port(name), value, name in literal)
        for name, value in values.items()
    }
    return read | _missing_defaults(spec, values)


def read_widget(spec: NodeSpec, port: Port | None, value: Any, is_literal: bool = False) -> Any:
    """Return a widget's value as the editor sends it, with the type of an installed node's port."""
    if port is None:
        return value
    if port.name == "sampler_name" and isinstance(value, str):
        value = value.removeprefix(OLD_SAMPLER_PREFIX)
    if isinstance(value, str) and not is_literal and has_dynamic_prompt(spec.name, port):
        return expand_dynamic_prompt(value)
    if isinstance(spec, KnownNode):
        return clamp_seed(port, value)
    return convert(port, value, clamp=True)


def _missing_defaults(spec: NodeSpec, values: Container[str]) -> dict[str, Any]:
    """Return the values that the editor starts with, of widgets that have none in the file."""
    starts = {
        port.name: start_value(port)
        for port in spec.inputs
        if is_widget(port)
        and port.name not in values
        and not (port.optional and port.is_required)
        and not is_own_input(spec.name, port)
    }
    return {name: value for name, value in starts.items() if value is not None}


def start_value(port: Port) -> Any:
    """Return the value that a widget starts with; None if it is the first of the user's files."""
    if not port.is_required:
        return port.default
    if port.between is not None:
        start = port.between.start
        return start if start is not None else max(port.between.low, min(0, port.between.high))
    if port.type == "COMBO":
        return next(iter(port.choices), None) if isinstance(port.choices, tuple) else None
    return {"BOOLEAN": False, "STRING": "", "INT": 0, "FLOAT": 0.0}.get(port.type)


def lossy_values(spec: NodeSpec, values: Mapping[str, Any], clamp: bool) -> dict[str, Any]:
    """Return the values that lose something when they are converted.

    Args:
        clamp: as in `convert`.
    """
    return {
        name: value for name, value in values.items() if _is_lossy(spec.port(name), value, clamp)
    }


def held_values(
    spec: NodeSpec, node: Mapping[str, Any], outer: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values of a node's widgets by name, as the file has them.

    A list wins over values by name, as in the editor; those outside of the node win over both.
    """
    listed = node.get("widgets_values")
    given = spec.current_names(values_by_position(spec, listed)) if _is_list(listed) else {}
    named = {**dict(_named_values(spec, node, {})), **given, **spec.current_names(outer)}
    ports = {name: spec.port(name) for name in named}
    return {
        name: value
        for name, value in named.items()
        if (port := ports[name]) is not None and is_widget(port)
    }


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def ignored_values(
    spec: NodeSpec, node: Mapping[str, Any], outer: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values that a file names for widgets that the node does not have."""
    return {
        name: value
        for name, value in _named_values(spec, node, outer)
        if spec.port(name) is None and name not in EDITOR_WIDGETS
    }


def _named_values(
    spec: NodeSpec, node: Mapping[str, Any], outer: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Yield the values that a file gives by name, under the current names of inputs."""
    for values in (node.get("widgets_values"), node.get("widgets_values_named"), outer):
        if isinstance(values, Mapping):
            yield from spec.current_names(values).items()


def values_by_position(spec: NodeSpec, values: Sequence[Any]) -> dict[str, Any]:
    """Return values by name from a list in the order of the widgets.

    A seed may be followed by its control, such as `randomize`; early editors wrote true or false.
    """
    return _assign(spec, values)[0]


def unread_values(spec: NodeSpec, node: Mapping[str, Any]) -> list[Any]:
    """Return the values in a file beyond those of the node's widgets and the editor's buttons."""
    listed = node.get("widgets_values")
    rest = _assign(spec, listed)[1] if isinstance(listed, list) else []
    return [value for value in rest if not isinstance(value, bool) and value not in BUTTONS]


def _assign(spec: NodeSpec, values: Sequence[Any]) -> tuple[dict[str, Any], list[Any]]:
    """Return the values of widgets by name, and the rest."""
    by_name: dict[str, Any] = {}
    waiting = list(values)
    widgets = [port for port in spec.inputs if is_widget(port)]
    for index, port in enumerate(widgets):
        if not waiting:
            break
        by_name[port.name] = waiting.pop(0)
        if is_seed(port) and waiting and _is_control(waiting, widgets[index + 1 :]):
            waiting.pop(0)
    return by_name, waiting


def _is_control(waiting: Sequence[Any], widgets: Sequence[Port]) -> bool:
    """Return whether the next value controls the seed before it, not the next widget."""
    if not isinstance(waiting[0], bool):
        return str(waiting[0]) in CONTROLS
    is_next_boolean = bool(widgets) and widgets[0].type == "BOOLEAN"
    return not is_next_boolean or len(waiting) > len(widgets)


def convert(port: Port | None, value: Any, clamp: bool = False) -> Any:
    """Convert a literal to the type of its port as ComfyUI does: "8" to 8, 2.7 to 2, 1 to True.

    A value that cannot be converted is returned unchanged, for validation to refuse.

    Args:
        clamp: limit a seed to its range, as ComfyUI's editor does for files.
    """
    if port is None:
        return value
    value = _convert(port, value)
    return clamp_seed(port, value) if clamp else value


def clamp_seed(port: Port, value: Any) -> Any:
    """Return a seed limited to the range of its port; another value as it is."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if port.type != "INT" or not is_seed(port) or not is_number or not math.isfinite(value):
        return value
    return int(max(port.between.low, min(value, port.between.high))) if port.between else value


def _convert(port: Port, value: Any) -> Any:
    if isinstance(value, str):
        if port.type == "INT" and _INT.match(value):
            return int(value)
        if port.type == "FLOAT" and _FLOAT.match(value):
            return float(value)
    elif isinstance(value, int | float) and math.isfinite(value):
        if port.type == "STRING" and port.file is None and not isinstance(value, bool):
            return str(value)
        if port.type == "BOOLEAN" and value in (0, 1):
            return bool(value)
        if port.type in _NUMBERS:
            return _NUMBERS[port.type](value)
    return value


def is_control(value: Any) -> bool:
    """Return whether a value says what the editor does with a seed after a run."""
    return isinstance(value, bool) or str(value) in CONTROLS


def _is_lossy(port: Port | None, value: Any, clamp: bool) -> bool:
    """Return whether converting a number gives another one, or makes a number of a boolean."""
    if port is None or port.type not in _NUMBERS or not isinstance(value, int | float | str):
        return False
    converted = convert(port, value, clamp)
    if isinstance(value, str):  # "8" is 8; a seed beyond its range is another number
        return isinstance(converted, int | float) and converted != _convert(port, value)
    return isinstance(value, bool) or converted != value


def expand_dynamic_prompt(text: str) -> str:
    """Return a prompt without comments, with one choice of each `{a|b}`, the same every time.

    >>> expand_dynamic_prompt("a /* big */ {red} house")
    'a  red house'
    """
    # After the last `*/` no comment can end. Searching for it there would take quadratic time.
    end = text.rfind("*/") + 2
    text = (
        _COMMENT.sub("", text[:end]) + _COMMENT.sub("", text[end:])
        if end > 1
        else (_COMMENT.sub("", text))
    )
    generator = random.Random(text)
    for _ in range(MAX_DEPTH):
        text, count = _CHOICE.subn(lambda match: generator.choice(match[1].split("|")), text)
        if not count:
            break
    return _ESCAPED.sub(r"\1", text)
