"""The descriptions of inputs in a node's docstring."""

from __future__ import annotations

import inspect
import re


def read_tooltips(doc: str) -> dict[str, str]:
    """Return the `Args` of a Google-style docstring: each name's description on one line."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", doc, re.MULTILINE)
    if not section:
        return {}
    tips: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc(section.group(1)).splitlines():
        entry = re.match(r"(\w+(?:,\s*\w+)*):\s*(.*)", line)
        if entry:
            names = re.split(r",\s*", entry.group(1))
            tips.update(dict.fromkeys(names, entry.group(2)))
        else:
            tips.update({name: f"{tips[name]} {line.strip()}".strip() for name in names})
    return tips
