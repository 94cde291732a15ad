"""Typed nodes: thin functions, the only place where the engine and the diffusion code meet."""

from __future__ import annotations

from functools import cache

from latentloom.engine.node.registry import Registry


@cache
def registry() -> Registry:
    """The installed nodes: ours, and those of installed packs."""
    return Registry.from_package(__name__)
