"""Inputs that depend on what a graph gives a node: groups that grow, and choices that add inputs.

A declaration has one port for a group, and one for a choice. `fit` returns the ports that a node
of a graph has, under names like `images.image0` and `format.bit_depth`; `nest` puts the values
of these ports together for the function.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from .declaration import MISSING, Branch, Port


def fit(ports: Iterable[Port], given: Mapping[str, Any]) -> tuple[Port, ...]:
    """Return the inputs that a node has.

    Args:
        given: the node's inputs by name, as a graph has them.
    """
    return tuple(concrete for port in ports for concrete in _fit(port, given))


def nest(ports: Iterable[Port], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a node's function: a dict for a group, a NamedTuple for a choice.

    A group or choice of which a value is missing is left out.

    Args:
        values: by the names that `fit` gave.
    """
    arguments = dict(values)
    for port in ports:
        if port.growing is not None:
            names = {key: f"{port.name}.{key}" for key in port.growing.keys}
            group = {key: arguments.pop(name) for key, name in names.items() if name in arguments}
            if len(group) >= port.growing.low:
                arguments[port.name] = group
        elif port.branches and port.name in arguments:
            branch = _branch(port, arguments.pop(port.name), arguments)
            names = {inner.name: f"{port.name}.{inner.name}" for inner in branch.ports}
            if arguments.keys() >= set(names.values()):
                fields = {key: arguments.pop(name) for key, name in names.items()}
                arguments[port.name] = branch.make(**fields)
    return arguments


def spread_groups(ports: Iterable[Port], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs with those of a group under their names, for a list or a dict of them.

    >>> from .ports import Growing
    >>> port = Port(name="images", type="IMAGE", growing=Growing("image"))
    >>> spread_groups([port], {"images": ["a", "b"]})
    {'images.image0': 'a', 'images.image1': 'b'}
    """
    spread = dict(given)
    for port in ports:
        value = spread.get(port.name) if port.growing is not None else None
        if port.growing is not None and isinstance(value, list | tuple | dict):
            del spread[port.name]
            if not isinstance(value, dict):
                value = {port.growing.key(index): item for index, item in enumerate(value)}
            spread |= {f"{port.name}.{key}": item for key, item in value.items()}
    return spread


def every_port(ports: Iterable[Port]) -> Iterator[Port]:
    """Yield the inputs that a node may have; those of two choices may have one name."""
    for port in ports:
        if port.growing is None:
            yield port
        else:
            for key in port.growing.keys:
                yield replace(port, name=f"{port.name}.{key}", growing=None)
        for branch in port.branches:
            yield from _added(port, branch)


def _added(port: Port, branch: Branch) -> Iterator[Port]:
    for inner in branch.ports:
        yield replace(inner, name=f"{port.name}.{inner.name}")


def _fit(port: Port, given: Mapping[str, Any]) -> Iterator[Port]:
    if port.growing is not None:
        for index, key in enumerate(port.growing.keys):
            name, is_needed = f"{port.name}.{key}", index < port.growing.low
            if is_needed or name in given:
                yield replace(port, name=name, default=MISSING, growing=None)
        return
    yield port
    if port.branches:
        default = port.branches[0].choice if port.default is MISSING else port.default
        yield from _added(port, _branch(port, given.get(port.name, default), given))


def _branch(port: Port, choice: Any, given: Collection[str]) -> Branch:
    """Return the branch of a choice; of an unknown choice, the first that fits the inputs."""
    chosen = [branch for branch in port.branches if branch.choice == choice]
    prefix = f"{port.name}."
    names = {name.removeprefix(prefix) for name in given if name.startswith(prefix)}
    fitting = [b for b in port.branches if names <= {inner.name for inner in b.ports}]
    return (chosen or fitting or list(port.branches))[0]
