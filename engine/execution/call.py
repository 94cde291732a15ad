"""Call a node: check its linked values, spread lists, and turn errors into outcomes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..cache.fingerprint import Fingerprinter
from ..cache.memory import Entry, size_of
from ..errors import InputError, LatentloomError, NodeError, RunCancelledError
from ..graph.literal import LiteralError, coerce, describe_value
from ..graph.prepared import Prepared
from ..node.context import Context, OnProgress, Saved
from ..node.many import Many, gather, spread, wrap_lists
from ..node.ports import ANY
from ..node.spec import NodeSpec, Port
from .threads import Sharing


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """The outcome of a call: an entry, or the error that it raised."""

    seconds: float
    entry: Entry | None = None
    error: LatentloomError | None = None
    model_calls: int = 0


class Ready(NamedTuple):
    """The result of a call that was computed together with others; see `together`.

    Attributes:
        value: as the node returns it.
        seconds, model_calls: its share of those of all.
        notes: what it said of itself, as in `Context`.
    """

    value: Any
    seconds: float
    model_calls: int
    notes: Mapping[str, list[Any]]


def saved_in(entry: Entry | None) -> tuple[str, ...]:
    """Return the files that an output node saved."""
    values = entry.outputs if entry is not None else ()
    return tuple(str(path) for value in values if isinstance(value, Saved) for path in value.paths)


def text_in(spec: NodeSpec, entry: Entry) -> str:
    """Return the text that an output node shows: of what it saved, or its strings."""
    if not spec.output_node:
        return ""
    values = [item for value in entry.outputs for item in _items(value)]
    texts = (value.text if isinstance(value, Saved) else value for value in values)
    return "\n".join(text for text in texts if isinstance(text, str) and text)


def _items(value: Any) -> Sequence[Any]:
    return value if value.__class__ is Many else (value,)


def call(
    node: Prepared,
    linked: Mapping[str, Any],
    context: Context,
    *,
    digest: bool,
    fingerprinter: Fingerprinter,
    sharing: Sharing,
    ready: Ready | None = None,
) -> CallOutcome:
    """Call a node with its literals and its linked values; never raises an Exception.

    Args:
        digest: compute the digests of its outputs, too: a consumer will ask for them.
        fingerprinter: computes the digests of its outputs.
        sharing: sets the threads that it may compute with.
        ready: its result, if that is computed already.
    """
    spec = node.spec
    if ready is not None:
        outputs, notes = _outputs(spec, ready.value), dict(ready.notes) or None
        made = Entry(outputs, size_of(outputs), fingerprinter=fingerprinter, notes=notes)
        return CallOutcome(ready.seconds, made, None, ready.model_calls)
    arguments = _known_arguments(node, linked)
    start = time.perf_counter()
    entry: Entry | None = None
    failure: LatentloomError | None = None
    hidden = {spec.hidden: context} if spec.hidden is not None else {}
    try:
        arguments = arguments_of(node, linked)
        argument_sets = spread(arguments)
        with sharing(spec):
            if argument_sets is None:
                outputs = _outputs(spec, spec.run(**spec.nested(arguments), **hidden))
            else:
                report, results = context.on_progress, []
                for index, arguments in enumerate(argument_sets):
                    context.on_progress = _offset_progress(report, index, len(argument_sets))
                    values = spec.nested(arguments)
                    results.append(_outputs(spec, spec.run(**values, **hidden)))
                outputs = gather(spec, results)
        size, notes = size_of(outputs), context.notes or None
        result = Entry(outputs, size, fingerprinter=fingerprinter, notes=notes)
        if digest:
            result.digest(0)
        entry = result
    except RunCancelledError as error:
        failure = error
    except Exception as error:  # noqa: BLE001 - a node may raise anything
        failure = NodeError(node.id, spec.name, _summaries(spec, arguments), error)
        failure.__cause__ = error
    return CallOutcome(time.perf_counter() - start, entry, failure, context.model_calls)


def _known_arguments(node: Prepared, linked: Mapping[str, Any]) -> dict[str, Any]:
    unasked = (port.name for port in node.spec.inputs if port.lazy and port.name in node.links)
    return {**dict.fromkeys(unasked), **node.literals, **linked}


def arguments_of(node: Prepared, linked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call as the inputs take them; lists are not spread.

    Raises:
        InputError: a linked value is not one of its input.
    """
    spec, arguments = node.spec, _known_arguments(node, linked)
    for name, value in linked.items():
        arguments[name] = _coerce_linked(spec, name, value)
    for name in spec.lists:
        if name in node.literals and node.literals[name] is not None:
            arguments[name] = [node.literals[name]]
    return arguments


def needed(node: Prepared, linked: Mapping[str, Any]) -> list[str]:
    """Return the lazy inputs that a node asks for, given the values that are there."""
    if node.spec.needs is None:
        return []
    lazy = {port.name for port in node.spec.inputs if port.lazy}
    missing = dict.fromkeys(name for name in lazy if name in node.links)
    arguments = {**node.literals, **missing, **linked}
    argument_sets = spread(arguments)
    asked = [
        name
        for argument_set in (argument_sets if argument_sets is not None else [arguments])
        for name in node.spec.needs(**node.spec.nested(argument_set))
    ]
    return [name for name in dict.fromkeys(asked) if name in node.links and name not in linked]


def _coerce_linked(spec: NodeSpec, name: str, value: Any) -> Any:
    """Return a linked value as its port takes it: a list, a Many to spread, or one value."""
    port = spec.port(name)
    if port is None:
        return value
    is_many = value.__class__ is Many
    if port.many:
        return [_coerce(port, item) for item in (value if is_many else (value,))]
    if is_many:
        return Many(_coerce(port, item) for item in value)
    return _coerce(port, value)


def _coerce(port: Port, value: Any) -> Any:
    """Return a linked value; numbers, strings and choices must be in the port's range."""
    if port.is_edge or port.plain or port.type == ANY:
        return value
    try:
        return coerce(port, value)
    except LiteralError as error:
        raise InputError(port.name, error.expected, error.got, error.hint) from None


def _outputs(spec: NodeSpec, value: Any) -> tuple[Any, ...]:
    """Return the result of one call as a tuple, one value for each output."""
    if spec.has_bare_result:
        value = (value,)
    elif not isinstance(value, tuple) or len(value) != len(spec.outputs):
        expected = ", ".join(output.name for output in spec.outputs)
        raise TypeError(f"{spec.name} must return {len(spec.outputs)} values ({expected})")
    return wrap_lists(spec, value) if spec.gives_many else value


def _offset_progress(report: OnProgress, index: int, count: int) -> OnProgress:
    """Report the steps of one call out of several as steps of all of them."""
    return lambda step, total, preview: report(index * total + step, count * total, preview)


def _summaries(spec: NodeSpec, arguments: Mapping[str, Any]) -> dict[str, str]:
    names = [port.name for port in spec.inputs if port.name in arguments]
    return {name: describe_value(arguments[name]) for name in names}
