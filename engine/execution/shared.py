"""The state that all runs of an engine share."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor

from ..cache.file_digests import FileDigests
from ..cache.fingerprint import Fingerprinter
from ..cache.generation import read_switches, switch_names
from ..cache.tiers import Tiers
from ..node.registry import Registry
from .call import CallOutcome, Ready
from .history import RunHistory
from .threads import thread_sharing


class Shared:
    """The caches, the history, the worker threads, and the calls in flight.

    Args:
        registry: its packs say how values are fingerprinted and threads are shared.
        cpu_workers: threads for CPU nodes; device nodes have one thread of their own.

    Attributes:
        digests: of the files that graphs name.
        in_flight: running calls by input key, so that identical nodes of several runs join one.
        ready: results that were computed together for calls to come, by key of the node.
        lock: held while `in_flight` is looked at and changed.
    """

    def __init__(self, registry: Registry, tiers: Tiers, cpu_workers: int) -> None:
        self.tiers = tiers
        self.digests = FileDigests()
        self.fingerprinter = Fingerprinter.of(registry)
        self.sharing = thread_sharing(registry)
        self._switches = switch_names(registry)
        self.history = RunHistory()
        self.in_flight: dict[str, Future[CallOutcome]] = {}
        self.ready: dict[str, Ready] = {}
        self.lock = threading.Lock()
        self._cpu_workers = cpu_workers
        self._workers: dict[bool, ThreadPoolExecutor] = {}

    def read_switches(self) -> str:
        """Return the environment variables that results depend on, as they are now."""
        return read_switches(self._switches)

    def workers(self, device: bool) -> Executor:
        """Return the threads that call device nodes, or those that call CPU nodes."""
        with self.lock:
            if device not in self._workers:
                count, name = (1, "device") if device else (self._cpu_workers, "cpu")
                self._workers[device] = ThreadPoolExecutor(count, f"latentloom-{name}")
            return self._workers[device]

    def close(self) -> None:
        """End the worker threads."""
        for workers in self._workers.values():
            workers.shutdown(wait=True)
        self._workers.clear()
