"""Amounts of memory as users write them, in GiB."""

from __future__ import annotations

GIB = 2**30
MAX_GIB = 2**20


def parse_gibibytes(text: str) -> float:
    """Parse an amount of memory in GiB; `diffusion.networks.residency` has the same rule.

    Raises:
        ValueError: it is not a number of GiB, with a message that names no variable.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < MAX_GIB:
        raise ValueError(f"expected a number of GiB, 0 or more, got {text[:40]!r}")
    return value
