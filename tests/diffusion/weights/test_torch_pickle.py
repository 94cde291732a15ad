"""Pickles in weight files are read as data: nothing that they ask for is called."""

from __future__ import annotations

import pickle
import tracemalloc
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.weights.headers import read_tensor_infos
from latentloom.diffusion.weights.pickled_values import GlobalName, UnsafePickleError
from latentloom.diffusion.weights.torch_pickle import read_pickle
from tests.torch_files import (
    Canary,
    legacy_file,
    pickle_call,
    pickle_dict,
    push,
    push_tensor,
    zip_file,
)

# Calls of hostile pickles; those that can create a folder when they are run.
CALLS: list[tuple[str, tuple[object, ...]]] = [
    ("os.system", ("mkdir {0}",)),
    ("posix.mkdir", ("{0}",)),
    ("nt.system", ("mkdir {0}",)),
    ("subprocess.Popen", (["mkdir", "{0}"],)),
    ("subprocess.check_output", (["mkdir", "{0}"],)),
    ("builtins.eval", ("__import__('os').mkdir('{0}')",)),
    ("builtins.exec", ("import os; os.mkdir('{0}')",)),
    ("__builtin__.eval", ("__import__('os').mkdir('{0}')",)),
    ("builtins.getattr", ("{0}", "__class__")),
    ("builtins.__import__", ("antigravity",)),
    ("builtins.open", ("{0}", "w")),
    ("operator.attrgetter", ("system",)),
    ("operator.methodcaller", ("mkdir", "{0}")),
    ("functools.partial", ("{0}",)),
    ("runpy.run_path", ("{0}",)),
    ("runpy._run_code", ("import os; os.mkdir('{0}')", {})),
    ("pip.main", (["install", "{0}"],)),
    ("pip._internal.main", (["download", "{0}"],)),
    ("importlib.import_module", ("antigravity",)),
    ("timeit.timeit", ("__import__('os').mkdir('{0}')",)),
    ("code.InteractiveInterpreter", ()),
    ("pdb.run", ("__import__('os').mkdir('{0}')",)),
    ("cProfile.run", ("__import__('os').mkdir('{0}')",)),
    ("ctypes.CDLL", ("libc.so.6",)),
    ("marshal.loads", (b"x",)),
    ("pickle.loads", (b"cos\nsystem\n(S'true'\ntR.",)),
    ("pathlib.Path", ("{0}",)),
    ("shutil.rmtree", ("{0}",)),
    ("webbrowser.open", ("file://{0}",)),
    ("torch.load", ("{0}",)),
    ("torch.hub.load", ("{0}", "model")),
    ("torch.jit.load", ("{0}",)),
    ("torch.storage._load_from_bytes", (b"cos\nsystem\n(S'true'\ntR.",)),
    ("torch._utils._rebuild_sparse_tensor", ()),
    ("torch._tensor._rebuild_wrapper_subclass", ()),
    ("numpy.load", ("{0}",)),
    ("numpy.core.multiarray.fromfile", ("{0}",)),
    ("collections.OrderedDict.fromkeys", ("ab",)),
    ("torch._utils._rebuild_tensor_v2.__globals__.get", ("os",)),
]


def read(pickled: bytes) -> Any:
    return read_pickle(BytesIO(pickled)).value


@pytest.mark.parametrize(("name", "arguments"), CALLS, ids=[name for name, _ in CALLS])
def test_a_call_is_an_error_in_every_format(
    tmp_path: Path, name: str, arguments: tuple[object, ...]
) -> None:
    canary = str(tmp_path / "canary").encode()
    filled = pickle.loads(pickle.dumps(arguments, 0).replace(b"{0}", canary))
    call = pickle_call(name, *filled)
    inside = pickle_dict(call[2:-1])
    files = {
        "bare": call,
        "zip": zip_file(inside),
        "legacy": legacy_file(inside),
        "first": legacy_file(call),
    }
    for file, content in files.items():
        (tmp_path / f"{file}.pth").write_bytes(content)
        with pytest.raises(ModelFileError) as error:
            read_tensor_infos(tmp_path / f"{file}.pth")
        assert f"it asks to call {name}, which is not allowed in a weight file" in str(error.value)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_canary_of_any_protocol_never_fires(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "f.pt").write_bytes(pickle.dumps([{"a": Canary(tmp_path)}], protocol))
    with pytest.raises(ModelFileError, match=r"asks to call posix\.mkdir, which"):
        read_tensor_infos(tmp_path / "f.pt")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("instructions", "message"),
    [
        (b"(ios\nsystem\n", "instruction INST"),
        (b"(cos\nsystem\nS'true'\no", "instruction STRING"),
        (b"S'\\g'\n", "instruction STRING"),  # an escape that Python warns about
        (b"(cos\nsystem\nX\x01\0\0\0ao", "instruction OBJ"),
        (b"cos\nsystem\n)\x81", r"asks to make a os\.system"),
        (b"ctypes\nFunctionType\n)}\x92", "instruction NEWOBJ_EX"),
        (b"\x82\x01", "instruction EXT1"),
        (b"Pos.system\n", "instruction PERSID"),
        (b"\x96\x01\0\0\0\0\0\0\0a", "instruction BYTEARRAY8"),
        (b"\x97", "instruction NEXT_BUFFER"),
        (b"X\x02\0\0\0osX\x06\0\0\0system\x93)R", r"asks to call os\.system"),
        (b"cos\nsystem\nq\x01h\x01)R", r"asks to call os\.system"),
        (b"X\x06\0\0\0system)R", "asks to call something that is not a function"),
        (b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nN)}tR", "damaged"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n)R)R", "damaged"),
        (b"ccollections\nOrderedDict\n)R)R", "asks to call something that is not a function"),
        (b"c__builtin__\nset\n)R)R", "asks to call something that is not a function"),
        (b"c__builtin__\nset\n)RN\x85R", "asks to call something that is not a function"),
        (b"(X\x06\0\0\0modulecos\nsystem\nNNNtQ", "storages in an unknown form"),
        (b"cos\nsys\ntem\n)R", r"damaged|unknown"),
    ],
)
def test_other_instructions_are_errors(instructions: bytes, message: str) -> None:
    with pytest.raises((UnsafePickleError, ValueError), match=message):
        read(pickle_dict(instructions))


def test_a_state_does_not_change_its_object() -> None:
    state = push({"__class__": 5, "text": "os.system", "dtype": "F64", "__setstate__": 1})
    for target in (b"cos\nsystem\n", b"}", b"c__builtin__\nset\n)R", push_tensor()):
        plain, built = read(pickle_dict(target)), read(pickle_dict(target + state + b"b"))
        assert type(built["a"]) is type(plain["a"])
        if b"set" not in target:
            assert built == plain


def test_a_class_as_a_key_or_a_value_stays_a_name() -> None:
    name = b"cpytorch_lightning.callbacks\nModelCheckpoint\n"
    value = read(b"\x80\x02}" + name + push({"best": 0.5}) + b"s" + push("kind") + name + b"s.")
    name_in_file = GlobalName("pytorch_lightning.callbacks.ModelCheckpoint")
    assert value == {name_in_file: {"best": 0.5}, "kind": name_in_file}


@pytest.mark.parametrize("protocol", range(2, 6))
def test_plain_values_are_read_unchanged(protocol: int) -> None:
    tree: dict[object, object] = {
        "text": "héllo", "long": "x" * 300, "none": None, "yes": True, "no": False,
        "ints": [0, 255, 65535, -1, 2**31, 2**70], "float": 0.1, 5: {"deep": [(), (1,), (1, 2)]},
        "more": (1, 2, 3, 4, 5), "same": [[]] * 3, 0.5: [], None: {}, True: "",
    }  # fmt: skip
    assert read(pickle.dumps(tree, protocol)) == tree


@pytest.mark.parametrize(
    "pickled",
    [
        b"", b".", b"\x80\x02", b"\x80\x02.", b"\x80\x02N", b"\x80\x02NN.", b"\x80\x02(N.", b"0.",
        b"1.", b"h\x05.", b"\x94.", b"R.", b"NNR.", b"}Ns.", b"}(Nu.", b"N(NNu.", b"Na.", b"](e(.",
        b"Q.", b"b.", b"\x81.", b"NN\x93.", b"}]Ns.", b"}}Ns.", b"}))\x85\x85Ns.", b"}N\x85Ns.",
        b"\xff.", b"}\x8a\x0a" + b"\x7f" * 10 + b"Ns.",
    ],
)  # fmt: skip
def test_a_damaged_pickle_is_a_value_error(pickled: bytes) -> None:
    with pytest.raises(ValueError, match=r"damaged|exhausted|expected|unknown|not enough|dict key"):
        read(pickled)


def nested(count: int) -> bytes:
    """Return a dict that holds the next one twice, and so on."""
    levels = b"}" + b"".join(
        b"q%c}%bh%cs%bh%cs" % (i, push("a"), i, push("b"), i) for i in range(count)
    )
    return b"\x80\x02" + levels + b"."


BOMBS = {
    "a string of 2**60 bytes": b"\x80\x04\x8d" + (2**60).to_bytes(8, "little") + b"x.",
    "bytes of 2**31": b"\x80\x04B\xff\xff\xff\x7fx.",
    "a number of 2**31 bytes": b"\x80\x02\x8b\xff\xff\xff\x7fx.",
    "a frame of 2**63 bytes": b"\x80\x04\x95" + b"\xff" * 7 + b"\x7fN.",
    "tuples in tuples as a key": b"\x80\x02})" + b"\x85" * 100_000 + b"Ns.",
    "lists in lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "a dict of itself": b"\x80\x02}q\x00X\x01\0\0\0ah\x00s.",
    "dicts that are doubled": nested(40),
    "a long name again and again": (
        b"\x80\x02" + push("x" * 100_000) + b"q\x00" + b"h\x00h\x00\x930" * 100_000 + b"N."
    ),
    "a long name of many dicts": (
        b"\x80\x02" + push("x" * 1_000_000) + b"q\x000}("
        + b"".join(push(i) + b"}h\x00}s" for i in range(20_000)) + b"u."
    ),
    "many instructions": b"\x80\x02" + b"N0" * 600_000 + b"N.",
    "marks alone": b"\x80\x02" + b"(" * 300_000 + b".",
    "a shape with very many dimensions": (
        b"\x80\x02(" + b"K\x01" * 100_000 + b"tq\x000"
        + b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00h\x00h\x00tR" * 1000 + b"."
    ),
    "very many arguments": (
        b"\x80\x02(" + b"N" * 100_000 + b"tq\x000" + b"ctorch._utils\n_rebuild_parameter\nh\x00R."
    ),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_an_error_before_it_takes_memory(tmp_path: Path, bomb: str) -> None:
    (tmp_path / "f.pth").write_bytes(zip_file(BOMBS[bomb]))
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError):
            read_tensor_infos(tmp_path / "f.pth")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < len(BOMBS[bomb]) * 6 + 100 * 2**20
