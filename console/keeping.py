"""What is kept on the disk, as text and as an object."""

from __future__ import annotations

from typing import Any

from latentloom.engine.cache.disk import Store
from latentloom.engine.cache.generation import OFF, VARIABLE
from latentloom.engine.cache.gibibytes import GIB


def store_object(store: Store | None) -> dict[str, Any]:
    """Where results are kept, how many and how large; `folder` is null where none are."""
    if store is None:
        return {"folder": None, "entries": 0, "bytes": 0, "budget": 0}
    found = store.contents()
    return {
        "folder": str(store.folder),
        "entries": found.entries,
        "bytes": found.nbytes,
        "budget": store.budget,
    }


def store_text(store: Store | None) -> str:
    """The same in a line."""
    if store is None:
        return f"no results are kept on the disk ({VARIABLE}={OFF})"
    found = store.contents()
    held, budget = found.nbytes / GIB, store.budget / GIB
    return f"{store.folder}: {found.entries} results, {held:.2f} of {budget:g} GiB"
