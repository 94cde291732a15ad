"""Registry: node type -> NodeSpec, gathered from modules, packages and entry points."""

from __future__ import annotations

import difflib
import importlib
import logging
import pkgutil
import traceback
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from types import ModuleType

from ..errors import SpecError
from .spec import NodeSpec, spec_of

log = logging.getLogger(__name__)
ENTRY_POINT_GROUP = "latentloom.nodes"


class Registry(Mapping[str, NodeSpec]):
    """The node types that graphs may use; frozen once made.

    Raises:
        SpecError: two nodes have one name.
    """

    def __init__(self, specs: Iterable[NodeSpec] = ()) -> None:
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

    @classmethod
    def of(cls, *targets: object) -> Registry:
        """A registry of the given `@node` functions, classes and modules."""
        return cls(spec for target in targets for spec in _specs_in(target))

    @classmethod
    def from_package(cls, package: str) -> Registry:
        """Every node in the modules of a package, and those of installed packs.

        Packs announce a module under the entry point group `latentloom.nodes`. One that cannot
        be loaded is left out, and its name and the reason are logged.
        """
        root = importlib.import_module(package)
        names = sorted(found.name for found in pkgutil.iter_modules(root.__path__))
        modules = [importlib.import_module(f"{package}.{name}") for name in names]
        found = cls.of(*modules)
        for pack in entry_points(group=ENTRY_POINT_GROUP):
            try:
                found |= cls.of(pack.load())
            except Exception as error:  # noqa: BLE001 - a pack's code may raise anything
                log.warning("the pack %s is left out: %s", pack.value, _reason(error))
        return found

    def near(self, name: str) -> list[str]:
        """Names that the user may have meant, best first."""
        folded = {known.lower(): known for known in self._specs}
        close = difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.75)
        return [folded[match] for match in close]

    def __or__(self, other: Registry) -> Registry:
        return Registry([*self.values(), *other.values()])

    def __getitem__(self, name: str) -> NodeSpec:
        return self._specs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)


def _reason(error: Exception) -> str:
    """What a pack raised, and where."""
    if isinstance(error, SpecError):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"


def _specs_in(target: object) -> Iterator[NodeSpec]:
    if isinstance(target, ModuleType):
        found = (spec_of(value) for value in vars(target).values())
        yield from (spec for spec in found if spec is not None)
        return
    spec = spec_of(target)
    if spec is None:
        raise SpecError(f"{target!r} is no node; decorate it with @node")
    yield spec
