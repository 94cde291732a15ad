"""The setting of fast networks, read without torch."""

from __future__ import annotations

import os
from importlib.util import find_spec

VARIABLE = "LATENTLOOM_FAST"
OFF = "off"


def why_not_set() -> str | None:
    """Say why fast networks are not wanted or not installed; None if they are both."""
    if os.environ.get(VARIABLE) == OFF:
        return "fast networks are off"
    if find_spec("triton") is None:
        return "Triton is not installed"
    return None


def describe() -> str:
    """Return a sentence on how networks run on this machine's NVIDIA GPU."""
    reason = why_not_set()
    if reason is not None:
        return f"networks run eagerly: {reason}"
    return "networks run fast on the GPU: fused kernels, calls captured from the second on"
