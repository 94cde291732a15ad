"""Read the pickles in torch's weight files as data. No torch here.

A pickle is a program for a stack machine that can import and call anything. The machine here has
only the instructions for plain values, containers and tensors, and cannot import or call: names
of functions and classes stay names. For the few functions that torch's weight files call, it
records the arguments (`pickled_values`). A pickle that calls anything else is rejected.

Source: CPython's Lib/pickletools.py, which lists the instructions and never runs one; for what
torch writes, torch/serialization.py and torch/_utils.py.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any, NamedTuple

from .pickled_values import (
    CALLABLES,
    IGNORED_NAMES,
    MAX_ARGUMENTS,
    PARAMETERS,
    STORAGE_TYPES,
    DamagedPickleError,
    GlobalName,
    IgnoredObject,
    PickledParameters,
    PickledStorage,
    UnsafePickleError,
    check_dict_key,
    printable,
    require_type,
)

# A checkpoint of 1,200 tensors takes about 50,000 instructions. The cost of an instruction is
# bounded too, since one large value in the memo can be used by each of them.
MAX_INSTRUCTIONS = 1_000_000
MAX_NAME_LENGTH = 1000

Instruction = Callable[["_PickleMachine", Any], None]


class PickleContents(NamedTuple):
    """The content of a pickle.

    Attributes:
        value: made of dicts, lists, tuples, strings, bytes, numbers, and the records of
            `pickled_values`.
        storages: all storages that it names, by key.
    """

    value: object
    storages: dict[str, PickledStorage]


def read_pickle(stream: BytesIO) -> PickleContents:
    """Read the next pickle of a stream; the stream's position is then after it.

    Raises:
        UnsafePickleError: it does more than weights need.
        ValueError: it is damaged.
    """
    machine = _PickleMachine()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged strings may have escapes that Python warns about
        for count, (code, argument, _) in enumerate(pickletools.genops(stream)):
            if count == MAX_INSTRUCTIONS:
                raise UnsafePickleError(
                    f"its pickle has more than {MAX_INSTRUCTIONS:,} instructions"
                )
            instruction = INSTRUCTIONS.get(code.name)
            if instruction is None:
                raise UnsafePickleError(
                    f"its pickle has the instruction {code.name}, "
                    "which is not allowed in a weight file"
                )
            try:
                instruction(machine, argument)
            except (LookupError, TypeError) as error:
                raise DamagedPickleError from error
    return PickleContents(machine.result(), machine.storages)


class _PickleMachine:
    """The machine's state: the stack, the stacks below its marks, the memo, and the storages."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.outer_stacks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, PickledStorage] = {}

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        return self.stack.pop()

    def mark(self) -> None:
        self.outer_stacks.append(self.stack)
        self.stack = []

    def pop_to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.outer_stacks.pop()
        return items

    def result(self) -> object:
        if self.outer_stacks or len(self.stack) != 1:
            raise DamagedPickleError
        return self.stack[0]


def _do_nothing(_machine: _PickleMachine, _: object) -> None:
    """Skip an instruction of the file format itself."""


def _pop(machine: _PickleMachine, _: object) -> None:
    machine.pop()


def _pop_to_mark(machine: _PickleMachine, _: object) -> None:
    machine.pop_to_mark()


def _push(machine: _PickleMachine, value: object) -> None:
    machine.push(value)


def _push_new(make: Callable[[], object]) -> Instruction:
    return lambda machine, _: machine.push(make())


def _memoize(machine: _PickleMachine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


def _push_tuple(length: int) -> Instruction:
    def instruction(machine: _PickleMachine, _: object) -> None:
        items = [machine.pop() for _ in range(length)]
        machine.push(tuple(reversed(items)))

    return instruction


def _extend_list(machine: _PickleMachine, items: Iterable[object]) -> None:
    require_type(machine.stack[-1], list).extend(items)


def _fill_dict(machine: _PickleMachine, items: list[Any]) -> None:
    """Put alternating keys and values into the dict on the stack."""
    target = require_type(machine.stack[-1], dict)
    if len(items) % 2:
        raise DamagedPickleError
    for key, value in zip(items[::2], items[1::2], strict=True):
        check_dict_key(key)
        target[key] = value


def _set_item(machine: _PickleMachine, _: object) -> None:
    value, key = machine.pop(), machine.pop()
    _fill_dict(machine, [key, value])


def _push_name(machine: _PickleMachine, _: object) -> None:
    name, module = require_type(machine.pop(), str), require_type(machine.pop(), str)
    if len(module) + len(name) > MAX_NAME_LENGTH:
        raise DamagedPickleError
    machine.push(GlobalName(f"{module}.{name}"))


def _push_storage(machine: _PickleMachine, _: object) -> None:
    """Push the storage that a persistent id of torch describes."""
    described = require_type(machine.pop(), tuple)
    has_known_form = len(described) in (5, 6) and described[0] == "storage"
    if not has_known_form or described[5:] not in ((), (None,)):
        raise UnsafePickleError("its pickle describes storages in an unknown form")
    kind = require_type(described[1], GlobalName).text
    if kind not in STORAGE_TYPES:
        raise UnsafePickleError(f"it holds numbers as {printable(kind)}, which is not supported")
    storage = PickledStorage(
        STORAGE_TYPES[kind], require_type(described[2], str), require_type(described[4], int)
    )
    if len(storage.key) > MAX_NAME_LENGTH or storage.count < 0:
        raise DamagedPickleError
    if machine.storages.setdefault(storage.key, storage) != storage:
        raise UnsafePickleError("its pickle has two storages with the same key")
    machine.push(storage)


def _call(machine: _PickleMachine, _: object) -> None:
    arguments, function = require_type(machine.pop(), tuple), machine.pop()
    name = function.text if type(function) is GlobalName else "something that is not a function"
    if name in IGNORED_NAMES:
        machine.push(IgnoredObject())
    elif name in CALLABLES and len(arguments) <= MAX_ARGUMENTS:
        machine.push(CALLABLES[name](*arguments))
    else:
        raise UnsafePickleError(
            f"it asks to call {printable(name)}, which is not allowed in a weight file"
        )


def _push_object(machine: _PickleMachine, _: object) -> None:
    machine.pop()
    kind = require_type(machine.pop(), GlobalName).text
    if kind != PARAMETERS and kind not in IGNORED_NAMES:
        raise UnsafePickleError(
            f"it asks to make a {printable(kind)}, which is not allowed in a weight file"
        )
    machine.push(PickledParameters() if kind == PARAMETERS else IgnoredObject())


def _set_state(machine: _PickleMachine, _: object) -> None:
    """Set the content of parameters; the state of any other object is dropped."""
    state, target = machine.pop(), machine.stack[-1]
    if type(target) is PickledParameters and type(state) is dict:
        target.content = state.get("_parameters")


INSTRUCTIONS: dict[str, Instruction] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _do_nothing),
    **dict.fromkeys(
        (
            "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING",
            "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
        ),
        _push,
    ),
    "NONE": _push_new(lambda: None),
    "NEWTRUE": _push_new(lambda: True),
    "NEWFALSE": _push_new(lambda: False),
    "EMPTY_DICT": _push_new(dict),
    "EMPTY_LIST": _push_new(list),
    "EMPTY_TUPLE": _push_new(tuple),
    "EMPTY_SET": _push_new(IgnoredObject),
    "MARK": lambda machine, _: machine.mark(),
    "POP": _pop,
    "POP_MARK": _pop_to_mark,
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "TUPLE1": _push_tuple(1),
    "TUPLE2": _push_tuple(2),
    "TUPLE3": _push_tuple(3),
    "APPEND": lambda machine, _: _extend_list(machine, [machine.pop()]),
    "APPENDS": lambda machine, _: _extend_list(machine, machine.pop_to_mark()),
    "ADDITEMS": _pop_to_mark,
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: _fill_dict(machine, machine.pop_to_mark()),
    "BINPUT": _memoize,
    "LONG_BINPUT": _memoize,
    "MEMOIZE": lambda machine, _: _memoize(machine, len(machine.memo)),
    "BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "GLOBAL": lambda machine, name: machine.push(GlobalName(name.replace(" ", ".", 1))),
    "STACK_GLOBAL": _push_name,
    "BINPERSID": _push_storage,
    "REDUCE": _call,
    "NEWOBJ": _push_object,
    "BUILD": _set_state,
}  # fmt: skip
