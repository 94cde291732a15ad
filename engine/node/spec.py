"""NodeSpec and Port, read once from a function's signature and docstring by `@node`."""

from __future__ import annotations

import hashlib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin

from ..errors import SpecError
from .context import Context
from .docstring import tooltips
from .ports import ANY, Between, Choices, File, Lazy, Seeded, Socket, Text

PRIMITIVES = {int: "INT", float: "FLOAT", str: "STRING", bool: "BOOLEAN"}


class _Missing:
    def __repr__(self) -> str:
        return "required"


MISSING: Any = _Missing()


@dataclass(frozen=True)
class Port:
    """One input of a node.

    Attributes:
        type: "INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", or an edge type such as "IMAGE".
        default: MISSING where the graph must give a value.
        optional: None is a value of it.
        many: it takes all values of an edge at once, as a list.
        between: allowed numbers; None where any will do.
        choices: allowed strings of a COMBO, or what computes them.
    """

    name: str
    type: str
    default: Any = MISSING
    optional: bool = False
    many: bool = False
    between: Between | None = None
    choices: tuple[str, ...] | Choices | None = None
    file: File | None = None
    tooltip: str = ""
    lazy: bool = False
    multiline: bool = False
    seeded: bool = False
    family: bool = False
    compatible: Callable[[str], str] | None = None
    mentions: File | None = None

    @property
    def required(self) -> bool:
        return self.default is MISSING

    def options(self) -> tuple[str, ...] | None:
        """The allowed strings as of now, None if the port is no list."""
        if isinstance(self.choices, Choices):
            return tuple(self.choices.list())
        if self.file is not None and self.file.names is not None:
            return tuple(self.file.names())
        return self.choices

    @property
    def chosen_from(self) -> tuple[File, ...]:
        """The kinds of files that its values name, or mention."""
        return tuple(file for file in (self.file, self.mentions) if file is not None)

    @property
    def is_edge(self) -> bool:
        """Whether only a link can feed it: its values have no literal form."""
        return self.type not in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", ANY)


@dataclass(frozen=True)
class Output:
    """One output of a node, known by name in our files and by index in ComfyUI's.

    Attributes:
        many: it gives a list, and what takes one value of it runs once for each.
    """

    name: str
    type: str
    family: bool = False
    many: bool = False


class Unavailable(NamedTuple):
    """Why an output stays empty, and what gives the same."""

    reason: str
    remedy: str


@dataclass(frozen=True)
class NodeSpec:
    """All that the engine knows of a node type.

    Attributes:
        run: the function itself; takes the inputs by name, and `context` if `hidden` is set.
        hidden: name of the parameter that receives the Context, if any.
        device: it uses the accelerator, so that only one such node runs at a time.
        output_node: a graph runs for its sake.
        check, family, needs, reads, unavailable: the optional methods of a class-form node. `reads`
            is given the inputs that are known before a run and None for the others, and gives the
            files that the node will read beside those that its inputs name. `unavailable` gives the
            outputs that these inputs leave empty, and why.
        lists: the inputs that take all values of an edge at once.
        gives_many: an output of it is a list.
        returns: the NamedTuple that `run` returns; None where it returns one bare value.
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
    deprecated: bool = False
    hidden: str | None = None
    check: Callable[..., None] | None = None
    family: Callable[..., str | None] | None = None
    needs: Callable[..., Sequence[str]] | None = None
    reads: Callable[..., Mapping[str, Path]] | None = None
    unavailable: Callable[..., Mapping[str, Unavailable]] | None = None
    returns: type[tuple[Any, ...]] | None = None
    lists: tuple[str, ...] = field(init=False, repr=False, compare=False)
    gives_many: bool = field(init=False, repr=False, compare=False)
    _ports: Mapping[str, Port] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ports", {port.name: port for port in self.inputs})
        object.__setattr__(self, "lists", tuple(port.name for port in self.inputs if port.many))
        object.__setattr__(self, "gives_many", any(output.many for output in self.outputs))

    @property
    def single(self) -> bool:
        """Whether `run` returns one bare value."""
        return self.returns is None

    def port(self, name: str) -> Port | None:
        """The input of this name, if there is one."""
        return self._ports.get(name)

    def output_index(self, output: str | int) -> int | None:
        """The index of an output given by name or index; None if there is no such output."""
        if isinstance(output, int):
            return output if 0 <= output < len(self.outputs) else None
        names = [found.name for found in self.outputs]
        return names.index(output) if output in names else None

    @cached_property
    def types(self) -> frozenset[str]:
        """The types of its inputs and outputs."""
        types = {port.type for port in self.inputs} | {output.type for output in self.outputs}
        return frozenset(types)

    @cached_property
    def identity(self) -> str:
        """What of the node itself goes into a key: name, version, digest of its source file."""
        return f"{self.name}/{self.version}/{_source_digest(self.run.__code__.co_filename)}"


F = TypeVar("F", bound=Callable[..., Any] | type)


def node(
    name: str,
    *,
    category: str,
    version: int = 1,
    device: bool = False,
    output: bool = False,
    deprecated: bool = False,
) -> Callable[[F], F]:
    """Declare a function, or a class with a static `run`, as a node.

    The signature is the only declaration: its parameters become inputs, its return annotation
    the outputs, its docstring's `Args` the tooltips.

    Args:
        name: the node's type in graph files.
        category: where listings show it, such as "image/upscaling".
        version: raise it when the same inputs give another result.
        device: it uses the accelerator.
        output: a graph runs for its sake (a saver).
        deprecated: it loads, but listings leave it out.

    Raises:
        SpecError: the declaration is wrong.
    """

    def declare(target: F) -> F:
        run = target.__dict__.get("run") if isinstance(target, type) else target
        run = run.__func__ if isinstance(run, staticmethod) else run
        if not isinstance(run, types.FunctionType):
            raise SpecError(f"node {name}: declare a function, or a class with a static run()")
        hooks = {
            hook: getattr(target, hook)
            for hook in ("check", "family", "needs", "reads", "unavailable")
            if isinstance(target, type) and hook in target.__dict__
        }
        options = {"version": version, "device": device, "output_node": output}
        doc = inspect.getdoc(target) or inspect.getdoc(run) or ""
        spec = _read(name, category, run, doc, {**options, "deprecated": deprecated, **hooks})
        target.__node__ = spec  # type: ignore[union-attr]
        return target

    return declare


def spec_of(target: object) -> NodeSpec | None:
    """The spec that `@node` put on a function or class, if any."""
    found = getattr(target, "__node__", None)
    return found if isinstance(found, NodeSpec) else None


def _read(
    name: str, category: str, run: types.FunctionType, doc: str, options: dict[str, Any]
) -> NodeSpec:
    try:
        notes = inspect.get_annotations(run, eval_str=True)
    except NameError as error:
        raise SpecError(
            f"node {name}: {error}; import the port type at run time, not under TYPE_CHECKING"
        ) from error
    tips = tooltips(doc)
    inputs, hidden = [], None
    for parameter in inspect.signature(run).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise SpecError(f"node {name}: *{parameter.name} is not allowed; name each input")
        if parameter.name not in notes:
            raise SpecError(f"node {name}, input {parameter.name}: it has no type annotation")
        if notes[parameter.name] is Context:
            hidden = parameter.name
            continue
        inputs.append(_port(name, parameter, notes[parameter.name], tips.get(parameter.name, "")))
    if "return" not in notes:
        raise SpecError(f"node {name}: it has no return annotation; write `-> None` for no output")
    if any(port.lazy for port in inputs) != ("needs" in options):
        raise SpecError(f"node {name}: lazy inputs need a static method `needs`, and only they do")
    returns, outputs = _outputs(name, notes["return"], bool(options["output_node"]))
    return NodeSpec(
        name, category, run, tuple(inputs), outputs, doc, hidden=hidden, returns=returns, **options
    )


def _port(name: str, parameter: inspect.Parameter, note: Any, tooltip: str) -> Port:
    where = f"node {name}, input {parameter.name}"
    note, marks = _unwrap(note)
    optional = False
    if get_origin(note) in (types.UnionType, typing.Union):
        members = [member for member in get_args(note) if member is not type(None)]
        if len(members) != 1:
            raise SpecError(f"{where}: a union may only be `X | None`")
        optional = True
        note, more = _unwrap(members[0])
        marks = (*marks, *more)
    many, note, more = _listed(note)
    marks = (*marks, *more)
    has_default = parameter.default is not parameter.empty
    text = next((mark for mark in marks if isinstance(mark, Text)), Text())
    port = Port(
        name=parameter.name,
        type="",
        default=parameter.default if has_default else MISSING,
        optional=optional,
        many=many,
        tooltip=tooltip,
        lazy=any(isinstance(mark, Lazy) for mark in marks),
        multiline=text.multiline,
        mentions=text.mentions,
        seeded=any(isinstance(mark, Seeded) for mark in marks),
    )
    details = _details(where, note, marks)
    port = Port(**{**_fields(port), **details})
    _check_default(where, port)
    return port


def _details(where: str, note: Any, marks: tuple[Any, ...]) -> dict[str, Any]:
    """Type, range, choices, file and family of a port, from its annotation."""
    between = next((mark for mark in marks if isinstance(mark, Between)), None)
    for mark in marks:
        if isinstance(mark, Socket):
            return {"type": mark.type, "family": mark.family, "compatible": mark.compatible}
        if isinstance(mark, File):
            return {"type": "COMBO" if mark.names else "STRING", "file": mark}
        if isinstance(mark, Choices):
            return {"type": "COMBO", "choices": mark}
    if get_origin(note) is Literal:
        choices = get_args(note)
        if not all(isinstance(choice, str) for choice in choices):
            raise SpecError(f"{where}: a Literal's choices must be strings")
        return {"type": "COMBO", "choices": choices}
    if note not in PRIMITIVES:
        raise SpecError(
            f"{where}: {note!r} is no port type; write int, float, str, bool, a Literal, "
            f"or Annotated[..., Socket('NAME')]"
        )
    if between is not None and note not in (int, float):
        raise SpecError(f"{where}: only numbers have a range")
    if between is not None and between.low > between.high:
        raise SpecError(f"{where}: its range {between} is empty")
    return {"type": PRIMITIVES[note], "between": between}


def _check_default(where: str, port: Port) -> None:
    default = port.default
    if default is MISSING or (default is None and port.optional):
        return
    if default is None:
        raise SpecError(f"{where}: its default is None, so its type must be `X | None`")
    if port.between is not None and not port.between.holds(default):
        raise SpecError(f"{where}: its default {default!r} is outside {port.between}")
    if isinstance(port.choices, tuple) and default not in port.choices:
        raise SpecError(f"{where}: its default {default!r} is not one of its choices")
    if port.is_edge:
        raise SpecError(f"{where}: an edge of type {port.type} can only default to None")


def _outputs(
    name: str, note: Any, output_node: bool
) -> tuple[type[tuple[Any, ...]] | None, tuple[Output, ...]]:
    """The NamedTuple that the function returns, None for one bare value; and its outputs."""
    if note is None or note is type(None):
        return None, ()
    if isinstance(note, type) and issubclass(note, tuple) and hasattr(note, "_fields"):
        scope = vars(sys.modules[note.__module__])
        notes = {field: _evaluated(hint, scope) for field, hint in note.__annotations__.items()}
        return note, tuple(_output(name, field, hint) for field, hint in notes.items())
    base, marks = _unwrap(note)
    if output_node and not marks and base not in PRIMITIVES and get_origin(base) is not list:
        return None, ()
    return None, (_output(name, "", note),)


def _evaluated(hint: Any, scope: dict[str, Any]) -> Any:
    """A NamedTuple's field type; the class keeps it as text, and only its own level is read."""
    text = hint.__forward_arg__ if isinstance(hint, typing.ForwardRef) else hint
    return eval(text, scope) if isinstance(text, str) else text


def _output(name: str, field_name: str, note: Any) -> Output:
    many, base, marks = _listed(note)
    socket = next((mark for mark in marks if isinstance(mark, Socket)), None)
    if socket is not None:
        return Output(field_name or socket.type, socket.type, socket.family, many)
    if base in PRIMITIVES:
        return Output(field_name or PRIMITIVES[base], PRIMITIVES[base], many=many)
    shown = f" {field_name}" if field_name else ""
    raise SpecError(f"node {name}, output{shown}: {note!r} is no port type")


def _unwrap(note: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(note) is Annotated:
        base, *marks = get_args(note)
        return base, tuple(marks)
    return note, ()


def _listed(note: Any) -> tuple[bool, Any, tuple[Any, ...]]:
    """Whether a type is `list[X]`, and X unwrapped."""
    many = get_origin(note) is list
    return many, *_unwrap(get_args(note)[0] if many else note)


def _fields(port: Port) -> dict[str, Any]:
    return {name: getattr(port, name) for name in port.__dataclass_fields__}


@cache
def _source_digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    except OSError:
        return "interactive"
