"""What nodes compute on; the engine knows no hardware, so that whoever does registers here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Device:
    """An accelerator. Sizes are in bytes; those of torch are what its allocator holds."""

    name: str
    type: str
    index: int | None
    vram_total: int
    vram_free: int
    torch_vram_total: int
    torch_vram_free: int


_listings: list[Callable[[], Sequence[Device]]] = []


def register(listing: Callable[[], Sequence[Device]]) -> None:
    """Ask this for devices from now on; it must not load what is heavy where there is none."""
    if listing not in _listings:
        _listings.append(listing)


def devices() -> list[Device]:
    """The accelerators of this machine; none where everything runs on the CPU."""
    return [device for listing in _listings for device in listing()]
