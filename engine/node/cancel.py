"""A token that stops a run from another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable


class CancelToken:
    """Cancels a run from any thread or a signal handler; it stops within one sampler step."""

    def __init__(self) -> None:
        self._flag = threading.Event()
        self._watchers: list[Callable[[], None]] = []

    def cancel(self) -> None:
        """Ask the run to stop. A second call, or one after the run, does nothing."""
        self._flag.set()
        for watcher in list(self._watchers):
            watcher()

    def is_set(self) -> bool:
        """Return whether `cancel` was called."""
        return self._flag.is_set()

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Call `watcher` on cancel, until the returned function is called."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)
