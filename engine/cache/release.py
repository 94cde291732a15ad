"""Return freed memory to the system."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from functools import lru_cache


def release_memory() -> None:
    """Collect garbage, and return what the allocator holds of it to the system.

    glibc keeps the freed memory of all of its arenas until it is asked to trim them. Other
    allocators have no such call.
    """
    gc.collect()
    trim = _find_trim()
    if trim is not None:
        trim(0)


@lru_cache(1)
def _find_trim() -> Callable[[int], object] | None:
    try:
        trim: Callable[[int], object] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):  # Windows has no handle of the process itself
        return None
    return trim
