"""Accelerators. The engine talks to no hardware; packs of nodes list their devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .extension import Extension
from .registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """An accelerator. Sizes are in bytes; those of torch are what its allocator reserved."""

    name: str
    type: str
    index: int | None
    vram_total: int
    vram_free: int
    torch_vram_total: int
    torch_vram_free: int


@dataclass(frozen=True)
class DeviceListing(Extension):
    """Lists the accelerators that a pack computes on.

    Args:
        list: must not load heavy libraries on a machine without accelerators.
    """

    list: Callable[[], Sequence[Device]]


def devices(registry: Registry) -> list[Device]:
    """Return the accelerators of this machine; empty if everything runs on the CPU."""
    return [device for listing in registry.extensions(DeviceListing) for device in listing.list()]
