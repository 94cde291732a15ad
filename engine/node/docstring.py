"""What a node's docstring says of its inputs."""

from __future__ import annotations

import inspect
import re


def tooltips(doc: str) -> dict[str, str]:
    """The `Args` section of a Google-style docstring: name -> its text on one line."""
    found = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", doc, re.MULTILINE)
    if not found:
        return {}
    tips: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc(found.group(1)).splitlines():
        entry = re.match(r"(\w+(?:,\s*\w+)*):\s*(.*)", line)
        if entry:
            names = re.split(r",\s*", entry.group(1))
            tips.update(dict.fromkeys(names, entry.group(2)))
        else:
            tips.update({each: f"{tips[each]} {line.strip()}".strip() for each in names})
    return tips
