"""Reads versions, switches and what computes: all that results depend on besides files."""

from __future__ import annotations

import os
import platform
from functools import lru_cache
from importlib.metadata import entry_points

from ..cache.generation import (
    ResultDependencies,
    code_digest,
    library_versions,
    switch_names,
)
from ..formats.manifest import Environment
from ..node.devices import describe_machine
from ..node.registry import ENTRY_POINT_GROUP, Registry

PROGRAM_VERSION = "0.1.0"


def read_environment(registry: Registry, with_machine: bool = True) -> Environment:
    """Return the versions, switches and the machine as they are now.

    Args:
        with_machine: ask what computes, which loads torch.
    """
    code, libraries, packs = _versions(registry.extensions(ResultDependencies))
    return Environment(
        version=PROGRAM_VERSION,
        code=code,
        python=platform.python_version(),
        libraries=dict(libraries),
        packs=dict(packs),
        machine=describe_machine(registry) if with_machine else {},
        switches={name: os.environ.get(name, "") for name in switch_names(registry)},
    )


@lru_cache(4)
def _versions(
    declared: tuple[ResultDependencies, ...],
) -> tuple[str, dict[str, str], dict[str, str]]:
    """Return the digest of the code and the versions, which never change in a process."""
    packs = {
        pack.dist.name: pack.dist.version
        for pack in entry_points(group=ENTRY_POINT_GROUP)
        if pack.dist is not None
    }
    return code_digest(declared), library_versions(declared), dict(sorted(packs.items()))
