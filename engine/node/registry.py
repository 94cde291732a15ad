"""Registry: node types and extensions, collected from modules, packages and entry points."""

from __future__ import annotations

import difflib
import importlib
import logging
import pkgutil
import traceback
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from types import ModuleType
from typing import TypeVar

from ..errors import SpecError
from .extension import Extension
from .spec import NodeSpec, spec_of

log = logging.getLogger(__name__)
ENTRY_POINT_GROUP = "latentloom.nodes"
E = TypeVar("E", bound=Extension)


class Registry(Mapping[str, NodeSpec]):
    """The node types that graphs may use, and the extensions of their packs. Never changed.

    Raises:
        SpecError: two nodes have the same name.
    """

    def __init__(
        self, specs: Iterable[NodeSpec] = (), extensions: Iterable[Extension] = ()
    ) -> None:
        self._specs: dict[str, NodeSpec] = {}
        for spec in specs:
            other = self._specs.get(spec.name)
            if other is not None and other.run is not spec.run:
                raise SpecError(
                    f"two nodes are named {spec.name}: "
                    f"{other.run.__module__}.{other.run.__qualname__} and "
                    f"{spec.run.__module__}.{spec.run.__qualname__}"
                )
            self._specs[spec.name] = spec
        # By identity: a module may import an extension of another one.
        self._extensions = tuple({id(value): value for value in extensions}.values())

    @classmethod
    def of(cls, *targets: object) -> Registry:
        """Return a registry of `@node` functions and classes, extensions, and modules of them."""
        values = [value for target in targets for value in _values_in(target)]
        specs = (spec for value in values if (spec := spec_of(value)) is not None)
        return cls(specs, (value for value in values if isinstance(value, Extension)))

    @classmethod
    def from_package(cls, package: str) -> Registry:
        """Return a registry of all modules of a package, and of installed packs.

        Packs announce a module under the entry point group `latentloom.nodes`. A pack that fails
        to import is skipped; its name and the reason are logged.
        """
        root = importlib.import_module(package)
        names = sorted(module.name for module in pkgutil.iter_modules(root.__path__))
        registry = cls.of(*(importlib.import_module(f"{package}.{name}") for name in names))
        for pack in entry_points(group=ENTRY_POINT_GROUP):
            try:
                registry |= cls.of(pack.load())
            except Exception as error:  # noqa: BLE001 - a pack's code may raise anything
                log.warning("the pack %s is skipped: %s", pack.value, _reason(error))
        return registry

    def extensions(self, kind: type[E]) -> tuple[E, ...]:
        """Return the extensions of a class, in the order in which they were collected."""
        return tuple(value for value in self._extensions if isinstance(value, kind))

    def near(self, name: str) -> list[str]:
        """Return the node types that the user may have meant, best first."""
        folded = {known.lower(): known for known in self._specs}
        close = difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.75)
        return [folded[match] for match in close]

    def __or__(self, other: Registry) -> Registry:
        return Registry([*self.values(), *other.values()], [*self._extensions, *other._extensions])

    def __getitem__(self, name: str) -> NodeSpec:
        return self._specs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)


def _reason(error: Exception) -> str:
    """Describe the exception of a pack, and the line that raised it."""
    if isinstance(error, SpecError):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"


def _values_in(target: object) -> Iterator[object]:
    if isinstance(target, ModuleType):
        yield from vars(target).values()
    elif isinstance(target, Extension) or spec_of(target) is not None:
        yield target
    else:
        raise SpecError(f"{target!r} is not a node; decorate it with @node")
