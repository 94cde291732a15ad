"""The events of a run, as frozen records.

They arrive one after another, in the thread that called `run`. The last is `Closed`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ..cache.tiers import Tier
from ..errors import LatentloomError
from .reasons import Reason

Status = Literal["done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """Something that happened to one node."""

    node: str


@dataclass(frozen=True, slots=True)
class Started(NodeEvent):
    """The node was called; `why` says why it had to run."""

    type: str
    why: Reason


@dataclass(frozen=True, slots=True)
class Reused(NodeEvent):
    """The node's outputs came from a cache: `tier` is "memory" or "disk".

    `saved` has the paths of the files that it saved before, `text` what it shows.
    """

    tier: Tier
    why: Reason
    saved: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Progress(NodeEvent):
    """The node has done `step` of `total` steps."""

    step: int
    total: int


@dataclass(frozen=True, slots=True)
class Preview(NodeEvent):
    """The node's output so far; each node type has its own type of previews."""

    value: Any


@dataclass(frozen=True, slots=True)
class Finished(NodeEvent):
    """The node has its outputs; `saved` has the paths of its files, `text` what it shows."""

    seconds: float
    saved: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Failed(NodeEvent):
    """The node raised."""

    error: LatentloomError


@dataclass(frozen=True, slots=True)
class Stopped(NodeEvent):
    """The node was stopped by a cancel."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The run is over; nothing follows."""

    status: Status


AnyEvent = NodeEvent | Closed
OnEvent = Callable[[AnyEvent], None]
