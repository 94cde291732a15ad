"""What a run works on: its jobs, and the house that all runs share."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ..cache.fingerprint import Fingerprinter
from ..cache.memory import Entry
from ..cache.tiers import Tier, Tiers
from .call import Outcome
from .history import History
from .plan import Task
from .reasons import Reason
from .threads import Sharing

State = Literal[
    "waiting", "ready", "running", "following",
    "ran", "reused", "failed", "blocked", "cancelled",
]  # fmt: skip


@dataclass(slots=True)
class Job:
    """A task on its way: what it still waits for, who waits for it, what became of it."""

    task: Task
    why: Reason
    waiting: int = 0
    consumers: list[Job] = field(default_factory=list)
    origins: list[Job] = field(default_factory=list)
    readers: int = 0
    entry: Entry | None = None
    state: State = "waiting"
    trace: str = ""
    seconds: float = 0.0
    saved: tuple[str, ...] = ()
    tier: Tier = "memory"
    asked: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.task.node.id


class House(Protocol):
    """What runs share: the engine's caches, threads, and the calls that are under way."""

    tiers: Tiers
    history: History
    fingerprinter: Fingerprinter
    sharing: Sharing
    flights: dict[str, Future[Outcome]]
    lock: threading.Lock

    def lane(self, device: bool) -> Executor: ...
