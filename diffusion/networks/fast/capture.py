"""Calls captured as CUDA graphs: launched as one, on inputs that lie in the same memory.

A structure is a tensor, None, or a tuple of structures; NamedTuples stay what they are.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor

MAX_CAPTURES = 16

Function = Callable[..., Sequence[Tensor]]


class CapturedGraph(Protocol):
    """A captured call: `torch.cuda.CUDAGraph`."""

    def replay(self) -> None: ...


def tensors_in(structure: Any) -> Iterator[Tensor]:
    """Yield the tensors of a structure in their order."""
    if isinstance(structure, Tensor):
        yield structure
    elif structure is not None:
        for part in structure:
            yield from tensors_in(part)


def with_tensors(structure: Any, tensors: Iterator[Tensor]) -> Any:
    """Return the structure with other tensors in the places of its own."""
    if structure is None or isinstance(structure, Tensor):
        return None if structure is None else next(tensors)
    parts = [with_tensors(part, tensors) for part in structure]
    return type(structure)(*parts) if hasattr(structure, "_fields") else tuple(parts)


def signature(structure: Any) -> Hashable:
    """Return what a captured call depends on: shapes, types, and where None is."""
    if structure is None:
        return None
    if isinstance(structure, Tensor):
        return structure.shape, structure.dtype, structure.device
    return tuple(map(signature, structure))


def record_on_gpu(work: Callable[[], Sequence[Tensor]]) -> tuple[CapturedGraph, Sequence[Tensor]]:
    """Capture what `work` launches; all captures share one pool of memory."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=_pool(), capture_error_mode="thread_local"):
        outputs = work()
    return graph, outputs


@cache
def _pool() -> Any:
    return torch.cuda.graph_pool_handle()


Record = Callable[[Callable[[], Sequence[Tensor]]], tuple[CapturedGraph, Sequence[Tensor]]]


class Capture:
    """One call of a function, captured.

    Args:
        changing: structure of inputs that are copied into the captured call each time.
        constant: structure of inputs that are copied only when they are other tensors than those
            of the last call; their contents never change.
    """

    def __init__(self, function: Function, changing: Any, constant: Any, record: Record) -> None:
        self._changing = [tensor.clone() for tensor in tensors_in(changing)]
        self._constant = [tensor.clone() for tensor in tensors_in(constant)]
        self._last = [weakref.ref(tensor) for tensor in tensors_in(constant)]
        arguments = (
            *with_tensors(changing, iter(self._changing)),
            *with_tensors(constant, iter(self._constant)),
        )
        self._graph, self._outputs = record(lambda: function(*arguments))

    def replay(self, changing: Any, constant: Any) -> Sequence[Tensor]:
        """Return the outputs for other inputs; the next replay overwrites them."""
        torch._foreach_copy_(self._changing, list(tensors_in(changing)))
        for index, tensor in enumerate(tensors_in(constant)):
            if tensor is not self._last[index]():
                self._constant[index].copy_(tensor)
                self._last[index] = weakref.ref(tensor)
        self._graph.replay()
        return self._outputs


class Captures:
    """The captured calls of all networks, least recently used first. Safe for several threads."""

    def __init__(self, limit: int = MAX_CAPTURES) -> None:
        self._limit, self._lock = limit, threading.RLock()
        self._by_key: OrderedDict[tuple[int, Hashable], Capture] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_key)

    def find(self, owner: int, key: Hashable) -> Capture | None:
        """Return an owner's capture, and mark it as the most recently used."""
        with self._lock:
            capture = self._by_key.get((owner, key))
            if capture is not None:
                self._by_key.move_to_end((owner, key))
            return capture

    def add(self, owner: int, key: Hashable, capture: Capture) -> None:
        """Store a capture; the least recently used ones beyond the limit go."""
        with self._lock:
            self._by_key[owner, key] = capture
            while len(self._by_key) > self._limit:
                self._by_key.popitem(last=False)

    def drop(self, owner: int) -> None:
        """Release the captures of an owner."""
        with self._lock:
            for key in [key for key in self._by_key if key[0] == owner]:
                del self._by_key[key]

    def clear(self) -> None:
        """Release all captures."""
        with self._lock:
            self._by_key.clear()


@cache
def captures() -> Captures:
    """Return this process's captures."""
    return Captures()
