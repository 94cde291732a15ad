"""Where weights are: on the device while they fit, in memory, or only in their file.

What was used longest ago makes room first: from the device it goes to memory, from memory back to
its file, to be read again when it is needed. What is being computed with stays. A network that
does not fit on the device alone keeps there what does, and the rest comes a layer at a time.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Protocol, TypeVar

import torch
from torch import nn

from ..errors import OutOfMemoryError, SettingError
from . import devices

VRAM, RESERVE = "LATENTLOOM_VRAM", "LATENTLOOM_RESERVE_VRAM"
GIB = 2**30
# Kept free for what a step computes beside the weights, unless the user says otherwise.
DEFAULT_RESERVE = 1.0
MEMORY_SHARE = 0.7

T = TypeVar("T")


class Resident(Protocol):
    """Weights that can be somewhere else; `nbytes` is what they take when they are loaded."""

    @property
    def nbytes(self) -> int: ...
    @property
    def home(self) -> torch.device:
        """Where they are computed with."""

    @property
    def is_loaded(self) -> bool: ...
    @property
    def can_reload(self) -> bool: ...
    def load(self) -> None:
        """Read them from their file, into memory."""

    def unload(self) -> None:
        """Let them go; only where `can_reload`."""

    def place(self, room: int) -> int:
        """Put them on their home, as much as fits into `room` bytes; what lies there then."""

    def take_back(self) -> None:
        """Put them into memory."""


class Residency:
    """Knows all weights that are loaded, least recently used first. Safe for several threads.

    Args:
        room: bytes on the device that weights may take in all, asked for anew each time.
        memory: bytes of weights to keep in memory.
    """

    def __init__(self, room: Callable[[], int], memory: int) -> None:
        self._room, self._memory = room, memory
        self._order: OrderedDict[int, Resident] = OrderedDict()
        self._placed: dict[int, int] = {}
        self._users: Counter[int] = Counter()
        self._lock = threading.RLock()

    @contextmanager
    def using(self, weights: Resident) -> Iterator[None]:
        """Weights stay on their home for as long as this is entered."""
        key = id(weights)
        with self._lock:
            self._users[key] += 1
            try:
                self.touch(weights)
                if weights.home.type != "cpu" and key not in self._placed:
                    self._place(weights)
            except BaseException:
                self._users[key] -= 1
                raise
        try:
            yield
        finally:
            with self._lock:
                self._users[key] -= 1

    def touch(self, weights: Resident) -> None:
        """Load weights if need be, and note that they were used."""
        with self._lock:
            if not weights.is_loaded:
                weights.load()
            if weights.can_reload or weights.home.type != "cpu":
                self._order[id(weights)] = weights
                self._order.move_to_end(id(weights))
                self._spare_memory(weights)

    def clear_device(self) -> None:
        """Put all that is not in use into memory; torch's own store of blocks is given back."""
        with self._lock:
            for key in list(self._placed):
                if not self._users[key]:
                    self._take_back(key)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _place(self, weights: Resident) -> None:
        for key in list(self._order):
            if self._room() - sum(self._placed.values()) >= weights.nbytes:
                break
            if key in self._placed and not self._users[key]:
                self._take_back(key)
        room = max(0, self._room() - sum(self._placed.values()))
        try:
            self._placed[id(weights)] = weights.place(room)
        except BaseException:
            weights.take_back()  # some of it may lie there already
            raise

    def _take_back(self, key: int) -> None:
        del self._placed[key]
        self._order[key].take_back()
        self._spare_memory(self._order[key])

    def _spare_memory(self, newest: Resident) -> None:
        held = {key: each.nbytes for key, each in self._order.items() if key not in self._placed}
        for key in list(held):
            if sum(held.values()) <= self._memory:
                return
            each = self._order[key]
            if each is not newest and not self._users[key] and each.can_reload:
                each.unload()
                del self._order[key], held[key]


@cache
def residency() -> Residency:
    """The one of this process, by the budgets of the environment."""
    return Residency(free_device_memory, int(MEMORY_SHARE * _memory_bytes()))


def free_device_memory() -> int:
    """Bytes that weights may take on the device: LATENTLOOM_VRAM, less the reserve.

    Raises:
        SettingError: a budget is no number of gibibytes.
    """
    if devices.device().type != "cuda":
        return 2**62
    _, total = torch.cuda.mem_get_info()
    expected = _gibibytes(VRAM, total / GIB)
    return int((min(expected, total / GIB) - _gibibytes(RESERVE, DEFAULT_RESERVE)) * GIB)


def with_memory(work: Callable[[], T], smaller: Callable[[], T] | None = None) -> T:
    """Do some work, and once more with all other weights off the device where memory runs out.

    Args:
        smaller: the same in smaller pieces, for the second time.

    Raises:
        OutOfMemoryError: it runs out again.
    """
    try:
        return work()
    except torch.OutOfMemoryError:
        pass  # outside of this block its frames hold no tensors any more
    residency().clear_device()
    try:
        return (smaller or work)()
    except torch.OutOfMemoryError as error:
        reason = str(error).partition("\n")[0]
    residency().clear_device()
    raise OutOfMemoryError(
        f"the device's memory does not suffice: {reason}; take a smaller image or batch, "
        "tiled decoding, or keep more of it free (--reserve-vram)"
    )


def place_partly(module: nn.Module, home: torch.device, room: int) -> tuple[int, list[Hook]]:
    """Put a network's layers on the device as far as they fit; the others come when called.

    Returns:
        Bytes that lie on the device, and what is to be removed when the network is taken back.
    """
    placed, hooks = 0, list[Hook]()
    try:
        for layer in module.modules():
            own = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
            size = sum(each.nbytes for each in own)
            if placed + size <= room:
                for each in own:
                    each.data = each.data.to(home)
                placed += size
            elif own:
                hooks += _on_call(layer, home)
    except BaseException:
        for hook in hooks:
            hook.remove()
        raise
    return placed, hooks


Hook = torch.utils.hooks.RemovableHandle


def _on_call(layer: nn.Module, home: torch.device) -> tuple[Hook, Hook]:
    """Bring a layer's weights to the device while it is called."""
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []

    def bring(layer: nn.Module, _inputs: object) -> None:
        for each in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
            kept.append((each, each.data))
            each.data = each.data.to(home, non_blocking=True)

    def take(_layer: nn.Module, _inputs: object, _output: object) -> None:
        while kept:
            each, data = kept.pop()
            each.data = data

    return layer.register_forward_pre_hook(bring), layer.register_forward_hook(
        take, always_call=True
    )


def _gibibytes(variable: str, default: float) -> float:
    text = os.environ.get(variable, "")
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0 <= value < 2**20:
        raise SettingError(f"{variable}: expected a number of gibibytes, got {text[:40]!r}")
    return value


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 16 * GIB
