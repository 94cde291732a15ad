"""Widgets inside a subgraph that its instance shows, by the property `proxyWidgets`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import FormatError
from .comfy_groups import WidgetValues

MAX_DEPTH = 32
ITSELF, IMAGE_PREVIEW = "-1", "$$"
_PROXY_PATH = re.compile(r"(\d+): ?(.*)", re.DOTALL)


def own_values(node: Mapping[str, Any]) -> WidgetValues:
    """Return the values that an instance gives to widgets inside by its `proxyWidgets`."""
    values = node.get("widgets_values")
    by_path: dict[tuple[str, ...], dict[str, Any]] = {}
    for (path, name), value in zip(
        proxies(node), values if isinstance(values, list) else (), strict=False
    ):
        if not name.startswith(IMAGE_PREVIEW):
            by_path.setdefault(path, {})[name] = value
    return by_path


def proxies(node: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the widgets inside that an instance shows: the path of ids to a node, and the name.

    The path () stands for an input of the subgraph itself.
    """
    properties = node.get("properties")
    listed = properties.get("proxyWidgets") if isinstance(properties, Mapping) else None
    for proxy in listed if isinstance(listed, list) else ():
        if not isinstance(proxy, list) or len(proxy) < 2:
            raise FormatError(f"proxyWidgets: expected [node, name], got {str(proxy)[:80]}")
        path, name = [str(proxy[0])], str(proxy[1])
        while (inner := _PROXY_PATH.fullmatch(name)) is not None and len(path) < MAX_DEPTH:
            path.append(inner[1])
            name = inner[2]
        yield (() if path == [ITSELF] else tuple(path)), name
