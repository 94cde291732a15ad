"""The pickles in torch's own weight files, read as data. No torch here.

A pickle is a program for a small machine that can import and call anything. The machine here has
the instructions that plain values, containers and tensors take, and no way to import or to call:
a name of Python's stays a name, and of what torch files call it knows a few by their names and
writes down what they were given. What calls anything else is refused.

Source: CPython's Lib/pickletools.py, which tells the instructions and never runs one; what torch
writes is in torch/serialization.py and torch/_utils.py.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any, NamedTuple

from .pickled_values import (
    CALLS,
    DAMAGED,
    MAX_ARGUMENTS,
    NOTES,
    PARAMETERS,
    STORAGE_TYPES,
    GlobalName,
    IgnoredObject,
    PickledParameters,
    PickledStorage,
    UnsafePickleError,
    check_dict_key,
    printable,
    require_type,
)

# A checkpoint of 1,200 tensors takes about 50,000 steps. What a step costs is bounded too, since
# a large value that was written down once can be given to every step.
MAX_STEPS = 1_000_000
MAX_NAME = 1000

Step = Callable[["_Machine", Any], None]


class PickleContents(NamedTuple):
    """What a pickle says.

    Attributes:
        value: of dicts, lists, tuples, strings, bytes, numbers, and the records of `torch_names`.
        storages: all that it speaks of, by their keys.
    """

    value: object
    storages: dict[str, PickledStorage]


def read_pickle(stream: BytesIO) -> PickleContents:
    """What the next pickle of a stream says; the stream is left behind it.

    Raises:
        UnsafePickleError: it asks for more than weights need.
        ValueError: it is damaged.
    """
    machine = _Machine()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a damaged text may have escapes that Python warns of
        for count, (code, argument, _) in enumerate(pickletools.genops(stream)):
            if count == MAX_STEPS:
                raise UnsafePickleError(f"its pickle has more than {MAX_STEPS:,} steps")
            step = STEPS.get(code.name)
            if step is None:
                raise UnsafePickleError(
                    f"its pickle has the instruction {code.name}, which no weights need"
                )
            try:
                step(machine, argument)
            except (LookupError, TypeError) as error:
                raise UnsafePickleError(DAMAGED) from error
    return PickleContents(machine.result(), machine.storages)


class _Machine:
    """The stack, the stacks below the marks, and what was written down for later."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, PickledStorage] = {}

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        return self.stack.pop()

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        found, self.stack = self.stack, self.below.pop()
        return found

    def result(self) -> object:
        if self.below or len(self.stack) != 1:
            raise UnsafePickleError(DAMAGED)
        return self.stack[0]


def _nothing(_machine: _Machine, _: object) -> None:
    """Marks of the form itself."""


def _drop(machine: _Machine, _: object) -> None:
    machine.pop()


def _drop_all(machine: _Machine, _: object) -> None:
    machine.since_mark()


def _put(machine: _Machine, value: object) -> None:
    machine.push(value)


def _always(make: Callable[[], object]) -> Step:
    return lambda machine, _: machine.push(make())


def _remember(machine: _Machine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


def _tuple(length: int) -> Step:
    def step(machine: _Machine, _: object) -> None:
        items = [machine.pop() for _ in range(length)]
        machine.push(tuple(reversed(items)))

    return step


def _extend(machine: _Machine, items: Iterable[object]) -> None:
    require_type(machine.stack[-1], list).extend(items)


def _fill(machine: _Machine, items: list[Any]) -> None:
    """Put keys and values, one after the other, into the dict on the stack."""
    target = require_type(machine.stack[-1], dict)
    if len(items) % 2:
        raise UnsafePickleError(DAMAGED)
    for key, value in zip(items[::2], items[1::2], strict=True):
        check_dict_key(key)
        target[key] = value


def _last_two(machine: _Machine, _: object) -> None:
    value, key = machine.pop(), machine.pop()
    _fill(machine, [key, value])


def _stack_name(machine: _Machine, _: object) -> None:
    name, module = require_type(machine.pop(), str), require_type(machine.pop(), str)
    if len(module) + len(name) > MAX_NAME:
        raise UnsafePickleError(DAMAGED)
    machine.push(GlobalName(f"{module}.{name}"))


def _storage(machine: _Machine, _: object) -> None:
    """A storage by what torch calls its persistent id."""
    said = require_type(machine.pop(), tuple)
    if len(said) not in (5, 6) or said[0] != "storage" or said[5:] not in ((), (None,)):
        raise UnsafePickleError("its pickle speaks of storages in a way that is not known")
    kind = require_type(said[1], GlobalName).text
    if kind not in STORAGE_TYPES:
        raise UnsafePickleError(f"it holds numbers as {printable(kind)}, which is not supported")
    storage = PickledStorage(
        STORAGE_TYPES[kind], require_type(said[2], str), require_type(said[4], int)
    )
    if len(storage.key) > MAX_NAME or storage.count < 0:
        raise UnsafePickleError(DAMAGED)
    if machine.storages.setdefault(storage.key, storage) != storage:
        raise UnsafePickleError("its pickle has two storages of one key")
    machine.push(storage)


def _call(machine: _Machine, _: object) -> None:
    arguments, called = require_type(machine.pop(), tuple), machine.pop()
    name = called.text if type(called) is GlobalName else "what is no function"
    if name in NOTES:
        machine.push(IgnoredObject())
    elif name in CALLS and len(arguments) <= MAX_ARGUMENTS:
        machine.push(CALLS[name](*arguments))
    else:
        raise UnsafePickleError(f"it asks to call {printable(name)}, which no weights need")


def _new(machine: _Machine, _: object) -> None:
    machine.pop()
    kind = require_type(machine.pop(), GlobalName).text
    if kind != PARAMETERS and kind not in NOTES:
        raise UnsafePickleError(f"it asks to make a {printable(kind)}, which no weights need")
    machine.push(PickledParameters() if kind == PARAMETERS else IgnoredObject())


def _state(machine: _Machine, _: object) -> None:
    """What an object is to become; nothing here has anything to set but parameters."""
    state, target = machine.pop(), machine.stack[-1]
    if type(target) is PickledParameters and type(state) is dict:
        target.held = state.get("_parameters")


STEPS: dict[str, Step] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
    **dict.fromkeys(
        (
            "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING",
            "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
        ),
        _put,
    ),
    "NONE": _always(lambda: None),
    "NEWTRUE": _always(lambda: True),
    "NEWFALSE": _always(lambda: False),
    "EMPTY_DICT": _always(dict),
    "EMPTY_LIST": _always(list),
    "EMPTY_TUPLE": _always(tuple),
    "EMPTY_SET": _always(IgnoredObject),
    "MARK": lambda machine, _: machine.mark(),
    "POP": _drop,
    "POP_MARK": _drop_all,
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "APPEND": lambda machine, _: _extend(machine, [machine.pop()]),
    "APPENDS": lambda machine, _: _extend(machine, machine.since_mark()),
    "ADDITEMS": _drop_all,
    "SETITEM": _last_two,
    "SETITEMS": lambda machine, _: _fill(machine, machine.since_mark()),
    "BINPUT": _remember,
    "LONG_BINPUT": _remember,
    "MEMOIZE": lambda machine, _: _remember(machine, len(machine.memo)),
    "BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "GLOBAL": lambda machine, name: machine.push(GlobalName(name.replace(" ", ".", 1))),
    "STACK_GLOBAL": _stack_name,
    "BINPERSID": _storage,
    "REDUCE": _call,
    "NEWOBJ": _new,
    "BUILD": _state,
}  # fmt: skip
