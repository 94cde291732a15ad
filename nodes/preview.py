"""Previews: any value as text, and two images side by side."""

from __future__ import annotations

import json

from latentloom.engine.graph.literal import describe_value
from latentloom.engine.node.spec import node

from .ports import MAX_STRING_CHARS, AnyValue


@node("PreviewAny", category="utilities", output=True)
def preview_any(source: AnyValue) -> str:
    """Show a value as text, and return the text.

    Args:
        source: of any type; lists and dictionaries are shown as JSON, tensors by their shape.
    """
    if isinstance(source, str | int | float) or source is None:
        return str(source)[:MAX_STRING_CHARS]
    if isinstance(source, list | tuple | dict):
        try:
            return json.dumps(source, indent=4, ensure_ascii=False)[:MAX_STRING_CHARS]
        except (TypeError, ValueError, RecursionError):
            return describe_value(source)
    return describe_value(source)
