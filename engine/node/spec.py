"""NodeSpec and Port: the declaration of a node, read once from its function by `@node`."""

from __future__ import annotations

import hashlib
import inspect
import sys
import types
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar, get_origin

from ..errors import SpecError
from .annotation import PRIMITIVES, evaluate_field, find_marker, read_input, unwrap_list
from .context import Context
from .declaration import MISSING, Output, Port, Unavailable
from .docstring import read_tooltips
from .fitting import fit, nest
from .ports import Forwards, Matched, Socket

__all__ = ["MISSING", "NodeSpec", "Output", "Port", "Unavailable", "node", "spec_of"]

METHODS = ("alike", "check", "family", "needs", "reads", "together", "unavailable")
"""The optional methods of a class that is declared as a node."""


class Alike(NamedTuple):
    """The calls of a node that can be computed as one.

    Attributes:
        key: equal for calls that can.
        limit: of their number.
    """

    key: Hashable
    limit: int


@dataclass(frozen=True)
class NodeSpec:
    """The declaration of a node type.

    Attributes:
        run: the function itself; takes the inputs by name, and the Context as `hidden`.
        hidden: name of the parameter that receives the Context, if any.
        device: it uses the accelerator, so that only one such node runs at a time.
        output_node: graphs run for its sake.
        score: it measures: sweeps run it, and list its numbers or the `scores` of its value.
        check, family, needs, reads, unavailable: optional methods of a class-form node. `reads`
            gets the inputs that are known before a run, None for the others, and returns the files
            that the node will read besides those that its inputs name. `unavailable` returns the
            outputs that have no value with these inputs.
        alike, together: of a node that computes several calls as one. `alike` says for the
            inputs of a call which others fit; `together` returns the result of each call for
            several sets of inputs that do.
        lists: the inputs that take all values of an edge at once.
        gives_many: an output of it is a list.
        gives_value: an output of it is a value of its own.
        returns: the NamedTuple that `run` returns; None if it returns a bare value.
        declared: the declaration that `fitted` made this one of; None if none did.
    """

    name: str
    category: str
    run: Callable[..., Any]
    inputs: tuple[Port, ...]
    outputs: tuple[Output, ...]
    doc: str = ""
    version: int = 1
    device: bool = False
    output_node: bool = False
    score: bool = False
    deprecated: bool = False
    hidden: str | None = None
    check: Callable[..., None] | None = None
    family: Callable[..., str | None] | None = None
    needs: Callable[..., Sequence[str]] | None = None
    reads: Callable[..., Mapping[str, Path]] | None = None
    unavailable: Callable[..., Mapping[str, Unavailable]] | None = None
    alike: Callable[..., Alike | None] | None = None
    together: Callable[[Sequence[Mapping[str, Any]], Context], Sequence[Any]] | None = None
    returns: type[tuple[Any, ...]] | None = None
    declared: Self | None = field(default=None, repr=False, compare=False)
    lists: tuple[str, ...] = field(init=False, repr=False, compare=False)
    gives_many: bool = field(init=False, repr=False, compare=False)
    gives_value: bool = field(init=False, repr=False, compare=False)
    _ports: Mapping[str, Port] = field(init=False, repr=False, compare=False)
    _former: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ports = {port.name: port for port in self.inputs}
        former: dict[str, str] = {}
        for port in self.inputs:
            for name in port.former:
                if name in ports or name in former:
                    raise SpecError(
                        f"node {self.name}, input {port.name}: its former name {name} is in use"
                    )
                former[name] = port.name
        object.__setattr__(self, "_ports", ports)
        object.__setattr__(self, "_former", former)
        object.__setattr__(self, "lists", tuple(port.name for port in self.inputs if port.many))
        object.__setattr__(self, "gives_value", any(not o.forwards for o in self.outputs))
        object.__setattr__(self, "gives_many", any(output.many for output in self.outputs))

    def fitted(self, given: Mapping[str, Any]) -> Self:
        """Return the declaration with the inputs that a node of a graph has.

        It differs where inputs grow, or a choice adds some; see `engine.node.fitting`.

        Args:
            given: the node's inputs by name.
        """
        declared = self.declared or self
        if not any(port.growing or port.branches for port in declared.inputs):
            return self
        return replace(declared, inputs=fit(declared.inputs, given), declared=declared)

    def nested(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values of the inputs by name as the arguments of the function."""
        return dict(values) if self.declared is None else nest(self.declared.inputs, values)

    @property
    def has_bare_result(self) -> bool:
        """True if `run` returns one bare value."""
        return self.returns is None

    def port(self, name: str) -> Port | None:
        """Return the input of this name, if there is one."""
        return self._ports.get(name)

    def current_name(self, name: str) -> str | None:
        """Return the present name of an input, given that or a former one; None if unknown."""
        return name if name in self._ports else self._former.get(name)

    def current_names(self, values: Mapping[str, V]) -> dict[str, V]:
        """Return values by input with former names replaced; unknown names stay.

        A former name also stays if there is a value under the present name.
        """
        renamed: dict[str, V] = {}
        for name, value in values.items():
            current = self._former.get(name, name)
            renamed[name if current in values or current in renamed else current] = value
        return renamed

    def output_index(self, output: str | int) -> int | None:
        """Return the index of an output given by name or index; None if there is none."""
        if isinstance(output, int):
            return output if 0 <= output < len(self.outputs) else None
        names = [known.name for known in self.outputs]
        return names.index(output) if output in names else None

    @cached_property
    def types(self) -> frozenset[str]:
        """The types of its inputs and outputs."""
        types = {port.type for port in self.inputs} | {output.type for output in self.outputs}
        return frozenset(types)

    @cached_property
    def identity(self) -> str:
        """Its part of a cache key: name, version and digest of the function's source file."""
        return f"{self.name}/{self.version}/{_source_digest(self.run.__code__.co_filename)}"


F = TypeVar("F", bound=Callable[..., Any] | type)
V = TypeVar("V")


def node(
    name: str,
    *,
    category: str,
    version: int = 1,
    device: bool = False,
    output: bool = False,
    score: bool = False,
    deprecated: bool = False,
) -> Callable[[F], F]:
    """Declare a function, or a class with a static `run`, as a node.

    The signature is the only declaration: its parameters become inputs, its return annotation
    the outputs, its docstring's `Args` the tooltips.

    Args:
        name: the node's type in graph files.
        category: its place in listings, such as "image/upscaling".
        version: increase it when the same inputs give another result.
        device: it uses the accelerator.
        output: graphs run for its sake (a saver).
        score: it measures: sweeps run it, and list its numbers, or those in the mapping `scores`
            of its value.
        deprecated: it loads, but listings leave it out.

    Raises:
        SpecError: the declaration is wrong.
    """

    def declare(target: F) -> F:
        run = target.__dict__.get("run") if isinstance(target, type) else target
        run = run.__func__ if isinstance(run, staticmethod) else run
        if not isinstance(run, types.FunctionType):
            raise SpecError(f"node {name}: declare a function, or a class with a static run()")
        methods = {
            method: getattr(target, method)
            for method in METHODS
            if isinstance(target, type) and method in target.__dict__
        }
        options = {"version": version, "device": device, "output_node": output, "score": score}
        doc = inspect.getdoc(target) or inspect.getdoc(run) or ""
        spec = _read(name, category, run, doc, {**options, "deprecated": deprecated, **methods})
        target.__node__ = spec  # type: ignore[union-attr]
        return target

    return declare


def spec_of(target: object) -> NodeSpec | None:
    """Return the spec that `@node` put on a function or class, if any."""
    spec = getattr(target, "__node__", None)
    return spec if isinstance(spec, NodeSpec) else None


def _read(
    name: str, category: str, run: types.FunctionType, doc: str, options: dict[str, Any]
) -> NodeSpec:
    try:
        annotations = inspect.get_annotations(run, eval_str=True)
    except NameError as error:
        raise SpecError(
            f"node {name}: {error}; import the port type at run time, not under TYPE_CHECKING"
        ) from error
    tips = read_tooltips(doc)
    inputs, hidden = [], None
    for parameter in inspect.signature(run).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise SpecError(f"node {name}: *{parameter.name} is not allowed; name each input")
        if parameter.name not in annotations:
            raise SpecError(f"node {name}, input {parameter.name}: it has no type annotation")
        annotation = annotations[parameter.name]
        if annotation is Context:
            hidden = parameter.name
            continue
        inputs.append(_port(name, parameter, annotation, tips.get(parameter.name, "")))
    if "return" not in annotations:
        raise SpecError(f"node {name}: it has no return annotation; write `-> None` for no output")
    if any(port.lazy for port in inputs) != ("needs" in options):
        raise SpecError(f"node {name}: lazy inputs need a static method `needs`, and only they do")
    returns, outputs = _outputs(name, annotations["return"], bool(options["output_node"]))
    forwarded = find_marker(Forwards, getattr(annotations["return"], "__metadata__", ()))
    if forwarded is not None:
        outputs = (_forwarded(name, forwarded, inputs),)
    return NodeSpec(
        name, category, run, tuple(inputs), outputs, doc, hidden=hidden, returns=returns, **options
    )


def _port(name: str, parameter: inspect.Parameter, annotation: Any, tooltip: str) -> Port:
    subject = f"node {name}, input {parameter.name}"
    default = MISSING if parameter.default is parameter.empty else parameter.default
    declared = read_input(subject, annotation)
    port = Port(name=parameter.name, default=default, tooltip=tooltip, **declared)
    if port.branches and default is not MISSING:
        port = replace(port, default=_default_choice(subject, port))
    _check_default(subject, port)
    return port


def _default_choice(subject: str, port: Port) -> str:
    for branch in port.branches:
        if branch.make is type(port.default) and branch.make() == port.default:
            return branch.choice
    raise SpecError(f"{subject}: its default must be a choice's class, called without arguments")


def _check_default(subject: str, port: Port) -> None:
    default = port.default
    if default is MISSING or (default is None and port.optional):
        return
    if default is None:
        raise SpecError(f"{subject}: its default is None, so its type must be `X | None`")
    if port.between is not None and not port.between.holds(default):
        raise SpecError(f"{subject}: its default {default!r} is outside {port.between}")
    if isinstance(port.choices, tuple) and default not in port.choices:
        raise SpecError(f"{subject}: its default {default!r} is not one of its choices")
    if port.is_edge:
        raise SpecError(f"{subject}: an edge of type {port.type} can only default to None")


def _outputs(
    name: str, annotation: Any, is_output_node: bool
) -> tuple[type[tuple[Any, ...]] | None, tuple[Output, ...]]:
    """Return the NamedTuple that the function returns, None for a bare value; and its outputs."""
    if annotation is None or annotation is type(None):
        return None, ()
    is_class = isinstance(annotation, type)
    if is_class and issubclass(annotation, tuple) and hasattr(annotation, "_fields"):
        scope = vars(sys.modules[annotation.__module__])
        fields = {
            field_name: evaluate_field(field_type, scope)
            for field_name, field_type in annotation.__annotations__.items()
        }
        return annotation, tuple(_output(name, *item) for item in fields.items())
    is_list = get_origin(annotation) is list
    _, base, markers = unwrap_list(annotation)
    is_forwarded = find_marker(Forwards, markers) is not None
    if is_forwarded or (is_output_node and not is_list and not markers and base not in PRIMITIVES):
        return None, ()
    return None, (_output(name, "", annotation),)


def _forwarded(name: str, forwarded: Forwards, inputs: Sequence[Port]) -> Output:
    for port in inputs:
        if port.name == forwarded.port and port.is_edge and port.is_required:
            output_name = forwarded.name or port.name
            return Output(output_name, port.type, port.family, forwards=port.name)
    raise SpecError(f"node {name}: it forwards {forwarded.port!r}, which is not a required edge")


def _output(name: str, field_name: str, annotation: Any) -> Output:
    many, base, markers = unwrap_list(annotation)
    socket = find_marker(Socket, markers)
    if socket is not None:
        is_shared = socket.compatible is not None
        return Output(
            field_name or socket.type, socket.type, socket.family, many, is_shared=is_shared
        )
    matched = find_marker(Matched, markers)
    if matched is not None:
        return Output(field_name or matched.name, matched.allowed, False, many, matched.name)
    if base in PRIMITIVES:
        return Output(field_name or PRIMITIVES[base], PRIMITIVES[base], many=many)
    label = f" {field_name}" if field_name else ""
    raise SpecError(f"node {name}, output{label}: {annotation!r} is not a port type")


@cache
def _source_digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    except OSError:
        return "interactive"
