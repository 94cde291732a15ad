"""The base of everything that a pack declares besides nodes."""

from __future__ import annotations


class Extension:
    """A value that a pack declares at the top level of a module, such as a lint rule.

    `Registry.of` and `Registry.from_package` collect these values; `Registry.extensions` returns
    those of one class. Each part of the engine defines the classes that it asks for.
    """
