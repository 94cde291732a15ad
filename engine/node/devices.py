"""Accelerators. The engine talks to no hardware; packs of nodes list their devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


@dataclass(frozen=True)
class DeviceNote(Extension):
    """Says how nodes will run on this machine's devices, for plans.

    Args:
        describe: returns a sentence without its full stop, or nothing where there is nothing to
            say; must not load heavy libraries.
    """

    describe: Callable[[], str | None]


@dataclass(frozen=True)
class MachineDescription(Extension):
    """Says what computes, as far as results depend on it, for manifests.

    Args:
        describe: returns strings by name, such as `device`; may load heavy libraries.
    """

    describe: Callable[[], Mapping[str, str]]


def describe_machine(registry: Registry) -> dict[str, str]:
    """Return what the installed packs say of what computes."""
    machine: dict[str, str] = {}
    for description in registry.extensions(MachineDescription):
        machine |= description.describe()
    return machine


def device_notes(registry: Registry) -> list[str]:
    """Return what the installed packs say of this machine's devices."""
    notes = (note.describe() for note in registry.extensions(DeviceNote))
    return [note for note in notes if note]


def devices(registry: Registry) -> list[Device]:
    """Return the accelerators of this machine; empty if everything runs on the CPU."""
    return [device for listing in registry.extensions(DeviceListing) for device in listing.list()]
