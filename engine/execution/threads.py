"""CPU threads of nodes. The engine computes nothing; packs set the threads of each call."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from ..node.extension import Extension
from ..node.registry import Registry
from ..node.spec import NodeSpec

Sharing = Callable[[NodeSpec], AbstractContextManager[object]]


@dataclass(frozen=True)
class ThreadSharing(Extension):
    """Sets how many threads a node may compute with.

    Args:
        enter: returns a context manager that is entered around each call of the node; it must
            load no heavy library that the node itself does not load.
    """

    enter: Sharing


def thread_sharing(registry: Registry) -> Sharing:
    """Return the sharing of the last pack that has one; one that changes nothing if none has."""
    packs = registry.extensions(ThreadSharing)
    return packs[-1].enter if packs else _unchanged


def _unchanged(_spec: NodeSpec) -> AbstractContextManager[object]:
    return nullcontext()
