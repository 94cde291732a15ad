"""Residency: which weights are on the device, in memory, or only in their file.

The least recently used weights are offloaded to memory first, then unloaded, and read again when
they are needed; weights in use stay. A network too large for the device is streamed: the layers
that fit stay there, and each of the others is copied there for its call.
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
from torch import Tensor, nn

from ..errors import OutOfMemoryError, SettingError
from . import devices

VRAM, RESERVE = "LATENTLOOM_VRAM", "LATENTLOOM_RESERVE_VRAM"
GIB = 2**30
MAX_GIB = 2**20
# Device memory left free for activations, unless the user says otherwise.
DEFAULT_RESERVE_GIB = 1.0
MEMORY_SHARE = 0.7
UNLIMITED_BYTES = 2**62
DEFAULT_MEMORY_BYTES = 16 * GIB

T = TypeVar("T")


class Resident(Protocol):
    """Weights that residency moves; `nbytes` is their size once loaded."""

    @property
    def nbytes(self) -> int: ...
    @property
    def device(self) -> torch.device:
        """The device that computes with them."""

    @property
    def is_loaded(self) -> bool: ...
    @property
    def can_reload(self) -> bool: ...
    def load(self) -> None:
        """Read the weights from their file into memory."""

    def unload(self) -> None:
        """Release the weights; called only where `can_reload`."""

    def move_to_device(self, budget_bytes: int) -> int:
        """Move as much to the device as fits; return the bytes moved."""

    def offload(self) -> None:
        """Move the weights to memory."""


class Residency:
    """All loaded weights, least recently used first. Safe for several threads.

    Args:
        device_budget: returns the bytes on the device for all weights; called anew each time.
        memory_budget: bytes of weights to hold in memory.
    """

    def __init__(self, device_budget: Callable[[], int], memory_budget: int) -> None:
        self._device_budget, self._memory_budget = device_budget, memory_budget
        self._order: OrderedDict[int, Resident] = OrderedDict()
        self._bytes_on_device: dict[int, int] = {}
        self._users: Counter[int] = Counter()
        self._lock = threading.RLock()

    @contextmanager
    def use(self, weights: Resident) -> Iterator[None]:
        """Hold weights on their device."""
        key = id(weights)
        with self._lock:
            self._users[key] += 1
            try:
                self.touch(weights)
                if weights.device.type != "cpu" and key not in self._bytes_on_device:
                    self._move_to_device(weights)
            except BaseException:
                self._users[key] -= 1
                raise
        try:
            yield
        finally:
            with self._lock:
                self._users[key] -= 1

    def touch(self, weights: Resident) -> None:
        """Load weights if necessary, and mark them as the most recently used."""
        with self._lock:
            if not weights.is_loaded:
                weights.load()
            if weights.can_reload or weights.device.type != "cpu":
                self._order[id(weights)] = weights
                self._order.move_to_end(id(weights))
                self._trim_memory(weights)

    def clear_device(self) -> None:
        """Offload all weights that are not in use, and empty torch's cache of the device."""
        with self._lock:
            for key in list(self._bytes_on_device):
                if not self._users[key]:
                    self._offload(key)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _free_bytes(self) -> int:
        return self._device_budget() - sum(self._bytes_on_device.values())

    def _move_to_device(self, weights: Resident) -> None:
        for key in list(self._order):
            if self._free_bytes() >= weights.nbytes:
                break
            if key in self._bytes_on_device and not self._users[key]:
                self._offload(key)
        try:
            self._bytes_on_device[id(weights)] = weights.move_to_device(max(0, self._free_bytes()))
        except BaseException:
            weights.offload()  # a part of them may be on the device already
            raise

    def _offload(self, key: int) -> None:
        del self._bytes_on_device[key]
        self._order[key].offload()
        self._trim_memory(self._order[key])

    def _trim_memory(self, newest: Resident) -> None:
        in_memory = {
            key: weights.nbytes
            for key, weights in self._order.items()
            if key not in self._bytes_on_device
        }
        for key in list(in_memory):
            if sum(in_memory.values()) <= self._memory_budget:
                return
            weights = self._order[key]
            if weights is not newest and not self._users[key] and weights.can_reload:
                weights.unload()
                del self._order[key], in_memory[key]


@cache
def residency() -> Residency:
    """Return this process's residency, with the budgets that the environment sets."""
    return Residency(device_budget_bytes, int(MEMORY_SHARE * _memory_bytes()))


def device_budget_bytes() -> int:
    """Return the bytes that weights may take on the device: LATENTLOOM_VRAM, less the reserve.

    Raises:
        SettingError: a budget is not a number of GiB.
    """
    if devices.device().type != "cuda":
        return UNLIMITED_BYTES
    total_gib = torch.cuda.mem_get_info()[1] / GIB
    vram_gib = min(_read_gibibytes(VRAM, total_gib), total_gib)
    return int((vram_gib - _read_gibibytes(RESERVE, DEFAULT_RESERVE_GIB)) * GIB)


def retry_when_out_of_memory(
    work: Callable[[], T], smaller_work: Callable[[], T] | None = None
) -> T:
    """Do some work; if the device's memory runs out, offload all other weights and try again.

    Args:
        smaller_work: the same work in smaller pieces, for the second try.

    Raises:
        OutOfMemoryError: memory runs out again.
    """
    try:
        return work()
    except torch.OutOfMemoryError:
        pass  # outside of this block the failed call's frames hold no tensors any more
    residency().clear_device()
    try:
        return (smaller_work or work)()
    except torch.OutOfMemoryError as error:
        reason = str(error).partition("\n")[0]
    residency().clear_device()
    raise OutOfMemoryError(
        f"the device is out of memory: {reason}; use a smaller image or batch or tiled decoding, "
        "or leave more memory free (--reserve-vram)"
    )


def move_partly_to_device(
    module: nn.Module, device: torch.device, budget_bytes: int
) -> tuple[int, list[Hook]]:
    """Move the layers that fit to the device; each of the others is copied there when called.

    Returns:
        The bytes moved, and hooks to remove when the network is offloaded.
    """
    moved_bytes, hooks = 0, list[Hook]()
    try:
        for layer in module.modules():
            tensors = _own_tensors(layer)
            size = sum(tensor.nbytes for tensor in tensors)
            if moved_bytes + size <= budget_bytes:
                for tensor in tensors:
                    tensor.data = tensor.data.to(device)
                moved_bytes += size
            elif tensors:
                hooks += _move_on_call(layer, device)
    except BaseException:
        for hook in hooks:
            hook.remove()
        raise
    return moved_bytes, hooks


Hook = torch.utils.hooks.RemovableHandle


def _own_tensors(layer: nn.Module) -> list[Tensor]:
    return [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]


def _move_on_call(layer: nn.Module, device: torch.device) -> tuple[Hook, Hook]:
    """Copy a layer's weights to the device for each call."""
    originals: list[tuple[Tensor, Tensor]] = []

    def copy(layer: nn.Module, _inputs: object) -> None:
        for tensor in _own_tensors(layer):
            originals.append((tensor, tensor.data))
            tensor.data = tensor.data.to(device, non_blocking=True)

    def restore(_layer: nn.Module, _inputs: object, _output: object) -> None:
        while originals:
            tensor, data = originals.pop()
            tensor.data = data

    return layer.register_forward_pre_hook(copy), layer.register_forward_hook(
        restore, always_call=True
    )


def parse_gibibytes(text: str) -> float:
    """Parse an amount of memory in GiB; `engine.cache.gibibytes` has the same rule.

    Raises:
        ValueError: it is not a number of GiB, with a message that names no variable.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < MAX_GIB:
        raise ValueError(f"expected a number of GiB, 0 or more, got {text[:40]!r}")
    return value


def _read_gibibytes(variable: str, default: float) -> float:
    text = os.environ.get(variable, "")
    try:
        return parse_gibibytes(text) if text else default
    except ValueError as error:
        raise SettingError(f"{variable}: {error}") from error


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return DEFAULT_MEMORY_BYTES
