"""Names for nodes, parts and inputs, made of titles."""

from __future__ import annotations

import re
from collections.abc import Container

MAX_NAME_CHARS = 40
_WORDS = re.compile(r"[^\W_]+")


def slug(text: str) -> str:
    """Return a string as a name: its words in lower case.

    >>> slug("Final Décode!")
    'final_décode'
    """
    return "_".join(_WORDS.findall(text.lower()))[:MAX_NAME_CHARS].strip("_")


def free_name(name: str, taken: Container[str]) -> str:
    """Return a name that is not taken: the second of its kind is `name_2`."""
    free, count = name, 1
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    return free
