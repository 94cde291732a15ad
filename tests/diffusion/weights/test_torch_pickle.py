"""Pickles in weight files are read as data: whatever they ask for, nothing is called."""

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
from tests.torch_files import Canary, body, calling, held, legacy, tensor, zipped

# What a hostile pickle calls, and with what; each makes a folder where it is called.
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
def test_a_call_is_refused_by_its_name_in_every_form(
    tmp_path: Path, name: str, arguments: tuple[object, ...]
) -> None:
    told = pickle.dumps(arguments, 0).replace(b"{0}", str(tmp_path / "canary").encode())
    asks = calling(name, *pickle.loads(told))
    inside = held(asks[2:-1])
    files = {"bare": asks, "zip": zipped(inside), "old": legacy(inside), "first": legacy(asks)}
    for file, content in files.items():
        (tmp_path / f"{file}.pth").write_bytes(content)
        with pytest.raises(ModelFileError) as refused:
            read_tensor_infos(tmp_path / f"{file}.pth")
        assert f"it asks to call {name}, which no weights need" in str(refused.value)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_canary_of_any_protocol_never_fires(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "f.pt").write_bytes(pickle.dumps([{"a": Canary(tmp_path)}], protocol))
    with pytest.raises(ModelFileError, match=r"asks to call posix\.mkdir, which"):
        read_tensor_infos(tmp_path / "f.pt")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("instructions", "says"),
    [
        (b"(ios\nsystem\n", "instruction INST"),
        (b"(cos\nsystem\nS'true'\no", "instruction STRING"),
        (b"S'\\g'\n", "instruction STRING"),  # an escape that Python warns of
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
def test_no_other_instruction_reaches_anything(instructions: bytes, says: str) -> None:
    with pytest.raises((UnsafePickleError, ValueError), match=says):
        read(held(instructions))


def test_a_state_changes_nothing_of_what_it_is_given_to() -> None:
    state = body({"__class__": 5, "text": "os.system", "dtype": "F64", "__setstate__": 1})
    for target in (b"cos\nsystem\n", b"}", b"c__builtin__\nset\n)R", tensor()):
        plain, built = read(held(target)), read(held(target + state + b"b"))
        assert type(built["a"]) is type(plain["a"])
        if b"set" not in target:
            assert built == plain


def test_a_class_as_a_key_or_a_value_stays_a_name() -> None:
    name = b"cpytorch_lightning.callbacks\nModelCheckpoint\n"
    found = read(b"\x80\x02}" + name + body({"best": 0.5}) + b"s" + body("kind") + name + b"s.")
    known = GlobalName("pytorch_lightning.callbacks.ModelCheckpoint")
    assert found == {known: {"best": 0.5}, "kind": known}


@pytest.mark.parametrize("protocol", range(2, 6))
def test_plain_values_are_what_they_were(protocol: int) -> None:
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
def test_what_is_damaged_is_told_so(pickled: bytes) -> None:
    with pytest.raises(ValueError, match=r"damaged|exhausted|expected|unknown|not enough|key that"):
        read(pickled)


def nested(count: int) -> bytes:
    """A dict that has the one below it twice, and so on."""
    levels = b"}" + b"".join(
        b"q%c}%bh%cs%bh%cs" % (i, body("a"), i, body("b"), i) for i in range(count)
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
        b"\x80\x02" + body("x" * 100_000) + b"q\x00" + b"h\x00h\x00\x930" * 100_000 + b"N."
    ),
    "a long name of many dicts": (
        b"\x80\x02" + body("x" * 1_000_000) + b"q\x000}("
        + b"".join(body(i) + b"}h\x00}s" for i in range(20_000)) + b"u."
    ),
    "many steps": b"\x80\x02" + b"N0" * 600_000 + b"N.",
    "marks alone": b"\x80\x02" + b"(" * 300_000 + b".",
    "a shape of very many sides": (
        b"\x80\x02(" + b"K\x01" * 100_000 + b"tq\x000"
        + b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00h\x00h\x00tR" * 1000 + b"."
    ),
    "very many arguments": (
        b"\x80\x02(" + b"N" * 100_000 + b"tq\x000" + b"ctorch._utils\n_rebuild_parameter\nh\x00R."
    ),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_before_it_takes_memory(tmp_path: Path, bomb: str) -> None:
    (tmp_path / "f.pth").write_bytes(zipped(BOMBS[bomb]))
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError):
            read_tensor_infos(tmp_path / "f.pth")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < len(BOMBS[bomb]) * 6 + 100 * 2**20
