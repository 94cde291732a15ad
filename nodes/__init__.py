"""Typed nodes: thin functions that connect the engine with the diffusion code."""

from __future__ import annotations

from functools import cache

from latentloom.engine.node.registry import Registry


@cache
def registry() -> Registry:
    """Return the installed nodes: the shipped ones, and those of installed packs."""
    return Registry.from_package(__name__)
