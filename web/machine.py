"""The machine: its memory and its compute devices."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from latentloom.engine.node.devices import devices
from latentloom.engine.node.registry import Registry


def memory() -> tuple[int, int]:
    """Return total and available main memory in bytes, 0 where the system does not say."""
    names = os.sysconf_names if hasattr(os, "sysconf_names") else {}
    if "SC_PHYS_PAGES" not in names:
        return 0, 0
    page, total = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    free = os.sysconf("SC_AVPHYS_PAGES") if "SC_AVPHYS_PAGES" in names else 0
    return page * total, page * free


def device_list(registry: Registry) -> list[dict[str, Any]]:
    """Return the compute devices as /system_stats lists them; the CPU if there is no other."""
    accelerators = devices(registry)
    if accelerators:
        return [asdict(device) for device in accelerators]
    total, free = memory()
    sizes = {"vram_total": total, "vram_free": free}
    more = {"torch_vram_total": total, "torch_vram_free": free}
    return [{"name": "cpu", "type": "cpu", "index": None, **sizes, **more}]
