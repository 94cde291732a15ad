"""The outputs that items of a batch or a sweep leave in the memory cache, and for how long."""

from __future__ import annotations

import traceback
from collections import defaultdict
from collections.abc import Iterable

from ..cache.memory import MemoryCache
from ..cache.release import release_memory


class ItemMemory:
    """Drops cached outputs that no later item can use; entries of other runs stay.

    Outputs stay for one item longer than that, since the next item may turn out to have the same
    values under other keys.
    """

    def __init__(self, cache: MemoryCache) -> None:
        self._cache = cache
        self._last_uses: dict[str, int] = {}
        self._keys: defaultdict[int, list[str]] = defaultdict(list)
        self._next = 0

    def begin(self, last_uses: dict[str, int]) -> None:
        """Note the keys of an item before it runs, each with the last item that can use it.

        Keys whose outputs are cached already belong to other runs.
        """
        for key, last in last_uses.items():
            if self._last_uses.get(key) == last:
                continue
            if key in self._last_uses or self._cache.by_key(key) is None:
                self._last_uses[key] = last
                self._keys[last].append(key)

    def end(self, index: int) -> None:
        """Drop what the items before this one were the last to use."""
        for last in range(self._next, index):
            self._drop(
                [key for key in self._keys.pop(last, ()) if self._last_uses.get(key) == last]
            )
        self._next = index

    def close(self) -> None:
        """Drop everything that the items left, and return the memory to the system."""
        self._drop(list(self._last_uses))
        self._keys.clear()
        self._next = 0
        release_memory()

    def _drop(self, keys: Iterable[str]) -> None:
        for key in keys:
            del self._last_uses[key]
            self._cache.drop(key)


def forget_values(error: BaseException) -> None:
    """Remove the values of local variables from an error and its causes: they may be images."""
    errors: list[BaseException | None] = [error]
    seen: set[int] = set()
    while errors:
        current = errors.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        traceback.clear_frames(current.__traceback__)
        errors += (current.__cause__, current.__context__)
    error.__traceback__ = None  # its last frames are still running
