"""Weight files in torch's own forms give the tensors that torch gives, or a typed error."""

from __future__ import annotations

import itertools
import json
import struct
import subprocess
import sys
import tracemalloc
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.weights.headers import (
    read_floats,
    read_header_bytes,
    read_metadata,
    read_tensor_infos,
)
from latentloom.diffusion.weights.tensor_info import FileHeader, TensorInfo
from latentloom.diffusion.weights.torch_file import read_torch
from latentloom.diffusion.weights.weight_file import DTYPES, load_weights
from tests.torch_files import MACHINE, body, held, legacy, tensor, zipped

BASE = torch.arange(24.0)
OLD_DTYPES = [
    dtype for dtype in DTYPES.values() if dtype.itemsize > 1 or not dtype.is_floating_point
]


def varied() -> dict[str, Any]:
    """Tensors of all types and layouts, two on one storage."""
    typed = {f"typed.{dtype}": torch.arange(6).reshape(2, 3).to(dtype) for dtype in DTYPES.values()}
    return typed | {
        "turned": torch.randn(3, 4).t(),
        "part": BASE[3:9],
        "every other": BASE[4:20].reshape(4, 4)[:, ::2],
        "empty": torch.zeros(0, 4),
        "single": torch.tensor(3.0),
        "parameter": nn.Parameter(torch.randn(3)),
        "a": {"b": {"c": torch.ones(2), 0: torch.zeros(1)}, "text": "x", "list": [torch.ones(1)]},
    }


def flat(tree: dict[Any, Any], prefix: str = "") -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        elif isinstance(value, Tensor):
            found[f"{prefix}{key}"] = value
    return found


def alike(first: Tensor, second: Tensor) -> bool:
    """Of one type and layout, and the same to the bit."""
    told = [(each.dtype, each.shape, each.stride()) for each in (first, second)]
    bits = [each.detach().contiguous().flatten().view(torch.uint8) for each in (first, second)]
    return told[0] == told[1] and torch.equal(*bits)


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("is_zip", [True, False])
def test_the_tensors_are_those_that_torch_reads(
    tmp_path: Path, is_zip: bool, protocol: int
) -> None:
    saved, path = varied(), tmp_path / "f.pth"
    if not is_zip:  # torch itself reads back no type that has no storages of its own from these
        lost = ("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2")
        saved = {name: value for name, value in saved.items() if not name.endswith(lost)}
    torch.save(saved, path, _use_new_zipfile_serialization=is_zip, pickle_protocol=protocol)
    # torch warns of its own reader's limits in other protocols than this
    expected = flat(torch.load(path, weights_only=True) if protocol == 2 else saved)
    found, heads = load_weights(path), read_tensor_infos(path)
    assert list(found) == list(heads) == list(expected)
    assert all(alike(found[name], value) for name, value in expected.items())
    assert all(heads[name].shape == tuple(value.shape) for name, value in expected.items())
    assert all(DTYPES[heads[name].dtype] is value.dtype for name, value in expected.items())


def test_a_written_tensor_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(4)}, tmp_path / "f.pth")
    before = (tmp_path / "f.pth").read_bytes()
    load_weights(tmp_path / "f.pth")["a"].fill_(5)
    assert (tmp_path / "f.pth").read_bytes() == before
    assert torch.equal(load_weights(tmp_path / "f.pth")["a"], torch.ones(4))


def test_weights_are_mapped_not_read(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2**22)}, tmp_path / "f.pth")
    before = resident()
    found = load_weights(tmp_path / "f.pth")["a"]
    assert resident() - before < 2**22
    assert float(found[-1]) == 1.0


def resident() -> int:
    """Bytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


INNER = {"x.weight": torch.ones(2)}


@pytest.mark.parametrize(
    "said",
    [
        INNER,
        {"state_dict": INNER, "epoch": 3, "optimizer_states": [{"a": torch.zeros(1)}]},
        {"params": {"other": torch.zeros(1)}, "params_ema": INNER},
        {"params": INNER, "params_ema": {}},
        {"model": INNER},
        {"x": {"weight": torch.ones(2)}, "step": 5},
    ],
)
def test_the_weights_are_found_in_what_a_file_holds(tmp_path: Path, said: object) -> None:
    torch.save(said, tmp_path / "f.ckpt")
    assert read_tensor_infos(tmp_path / "f.ckpt") == {"x.weight": TensorInfo("F32", (2,))}


def test_an_inversion_of_its_first_days_holds_a_module(tmp_path: Path) -> None:
    vectors = torch.randn(2, 768)
    params = nn.ParameterDict({"*": nn.Parameter(vectors)})
    torch.save({"string_to_token": {"*": 265}, "string_to_param": params}, tmp_path / "f.pt")
    assert torch.equal(load_weights(tmp_path / "f.pt")["*"], vectors)


class Options:
    """Stands for what training notes of itself."""

    def __reduce__(self) -> Any:
        return Namespace, (), {"rate": 0.1, "path": "x"}


def test_what_training_notes_beside_the_weights_is_left_out(tmp_path: Path) -> None:
    marked = torch.ones(2)
    marked.origin = "a test"  # type: ignore[attr-defined]
    notes = {"args": Namespace(rate=0.1), "more": Options(), "losses": np.zeros(3), "best": None}
    torch.save({"state_dict": {"x": marked}, **notes}, tmp_path / "f.ckpt")
    assert torch.equal(load_weights(tmp_path / "f.ckpt")["x"], torch.ones(2))


def test_a_lightning_checkpoint_with_classes_and_numbers_of_numpy(tmp_path: Path) -> None:
    lightning = b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n"
    callbacks = b"}" + lightning + body({"best": 0.5, "path": "x"}) + b"s"
    dtype = b"cnumpy\ndtype\n(" + body("f8") + b"\x89\x88tR(K\x03" + body("<") + b"tb"
    scalar = (
        b"cnumpy.core.multiarray\nscalar\n("
        + dtype
        + b"c_codecs\nencode\n("
        + (body("\0\0") + body("latin1") + b"tRtR")
    )
    state = (
        b"ccollections\nOrderedDict\n)R("
        + body("x")
        + tensor()
        + b"u}"
        + body("_metadata")
        + (b"}sb")
    )
    parts = {"callbacks": callbacks, "loss": scalar, "state_dict": state}
    said = b"\x80\x02}(" + b"".join(body(name) + part for name, part in parts.items()) + b"u."
    (tmp_path / "f.ckpt").write_bytes(zipped(said))
    assert read_tensor_infos(tmp_path / "f.ckpt") == {"x": TensorInfo("F32", (4,))}


def test_numbers_and_the_header_are_read_from_both_forms(tmp_path: Path) -> None:
    numbers = torch.tensor([1.5, -2.0, 0.25])
    for form, dtype in itertools.product((True, False), (torch.bfloat16, torch.float16)):
        path = tmp_path / f"{form}-{dtype}.pt"
        saved = {"v": numbers.to(dtype), "turned": torch.zeros(2, 2).t()}
        torch.save(saved, path, _use_new_zipfile_serialization=form)
        assert read_floats(path, "v") == (1.5, -2.0, 0.25)
        assert read_metadata(path) == {}
        assert read_header_bytes(path)[:1] == b"\x80"
        assert len(read_header_bytes(path)) < path.stat().st_size
        with pytest.raises(ModelFileError, match="not a small tensor"):
            read_floats(path, "turned")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("f.pth", b"", "neither"),
        ("f.pth", b"text", "neither"),
        ("f.pth", b"\0" * 257 + b"ustar" + b"\0" * 300, "tar form"),
        ("f.pth", b"\x10" + bytes(7) + b'{"__metadata__"}', r"rename it to \.safetensors"),
        ("f.pth", b"PK\x03\x04", "cut short"),
        ("f.pth", b"\x80\x02}.", "a pickle without weights"),
        ("f.pth", zipped(b"\x80\x02N."), "no tensors with names"),
        ("f.pth", zipped(b"\x80\x02" + tensor() + b"."), "no tensors with names"),
        ("f.pth", legacy(held(tensor())) + b"PK", "data after its weights"),
        ("f.pth", legacy(held(tensor()))[:-1], "cut short"),
        ("f.pth", legacy(held(tensor()), machine={**MACHINE, "little_endian": False}), "big-endi"),
        ("f.pth", zipped(held(tensor()), byteorder=b"big"), "big-endian"),
        ("f.pth", zipped(held(tensor())) + b"\0", "data after its end"),
        ("f.pth", b"\0" + zipped(held(tensor())), "neither"),
        ("f.pth", b"PK\x03\x04" + zipped(held(tensor())), "overlap or leave gaps"),
        ("f.pth", zipped(held(tensor()) + b"x"), "data after its pickle"),
        ("f.pth", zipped(held(tensor()), data=bytes(12)), "cut short"),
        ("f.pth", zipped(held(tensor(kind="torch\nQInt8Storage"))), "QInt8Storage, which is not"),
        ("f.pth", zipped(held(tensor(shape=(5,)))), "larger than its storage"),
        ("f.pth", zipped(held(tensor(shape=(2**40,), stride=(0,)))), "larger than its storage"),
        ("f.pth", zipped(held(tensor(shape=(3,), stride=(2,)))), "outside its storage"),
        ("f.pth", zipped(held(tensor(offset=1))), "outside its storage"),
        ("f.pth", zipped(held(tensor(offset=-1))), "damaged"),
        ("f.pth", zipped(held(tensor(shape=(True,)))), "damaged"),
        ("f.pth", zipped(held(tensor(key="1"))), "not a complete torch weight file"),
        ("f.pth", zipped(held(tensor(count=2**62))), "cut short"),
        ("f.pth", zipped(b"\x80\x02}(" + body("a.b") + tensor() + body("a") + b"}" + body("b")
                         + tensor() + b"su."), "twice"),
        ("f.pth", zipped(held(tensor(), "x" * 600)), "too long"),
        ("f.pth", zipped(held(tensor(), "\ud800")), "not a complete torch weight file"),
        ("f.safetensors", zipped(held(tensor())), "it is a zip"),
        ("f.safetensors", legacy(held(tensor())), "it is a pickle"),
        ("f.sft", zipped(held(tensor())), "it is a zip"),
    ],
)  # fmt: skip
def test_what_is_no_sound_weight_file_says_why(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelFileError, match=rf"{name}.*({says})"):
        read_tensor_infos(tmp_path / name)


def test_a_sound_file_by_hand_is_read(tmp_path: Path) -> None:
    """So that the refusals above have the reason that they say."""
    for content in (zipped(held(tensor())), legacy(held(tensor()))):
        (tmp_path / f"{len(content)}.pth").write_bytes(content)
        found = load_weights(tmp_path / f"{len(content)}.pth")
        assert torch.equal(found["a"], torch.zeros(4))


def packed(*entries: tuple[str, bytes], **kept: Any) -> bytes:
    """A zip of these entries, whatever their names."""
    import io
    import warnings
    import zipfile

    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", **kept) as file:
        warnings.simplefilter("ignore")
        for name, content in entries:
            file.writestr(name, content)
    return stream.getvalue()


SOUND = ("archive/data.pkl", held(tensor()))
HOSTILE = ("archive/data.pkl", b"\x80\x02cos\nsystem\n" + body("true") + b"\x85R.")
DATA = ("archive/data/0", bytes(16))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (packed(SOUND, DATA, HOSTILE), "there twice"),
        (packed(HOSTILE, DATA, SOUND), "there twice"),
        (packed(SOUND, DATA, ("other/data.pkl", HOSTILE[1])), "without weights in torch"),
        (packed(SOUND, DATA, ("archive/constants.pkl", b"x")), "a TorchScript program"),
        (packed(SOUND, DATA, compression=8), "compressed or encrypted"),
        (packed(("data.pkl", SOUND[1]), ("data/0", DATA[1])), "without weights in torch"),
        (packed(("archive/other", b"x")), "without weights in torch"),
        (packed(), "not a complete|cut short|neither"),
        (packed(SOUND, DATA).replace(b"archive/data/0", b"archive/data/1", 1), "has two names"),
        (packed(SOUND, DATA).replace(b"\x80\x02}", b"\x80\x02]", 1), "damaged"),
        (b"#!/bin/sh\nexit\n" + packed(SOUND, DATA), "neither of torch"),
        (packed(SOUND, DATA) + packed(HOSTILE), "overlap or leave gaps"),
        (packed(SOUND, DATA) + legacy(HOSTILE[1]), "data after its end"),
        (legacy(SOUND[1]) + packed(HOSTILE), "data after its weights"),
    ],
)
def test_a_zip_with_more_than_one_meaning_is_refused(
    tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "f.bin").write_bytes(content)
    with pytest.raises(ModelFileError, match=says):
        read_tensor_infos(tmp_path / "f.bin")


def saved(form: str, folder: Path) -> bytes:
    """A small sound file."""
    path, tensors = folder / "sound.pth", {"a": torch.ones(2, 3), "b": {"c": torch.zeros(1)}}
    if form == "safetensors":
        save_file({"a": torch.ones(2, 3)}, path)
    else:
        torch.save({"state_dict": tensors}, path, _use_new_zipfile_serialization=form == "zip")
    return path.read_bytes()


@pytest.fixture(scope="module", params=["zip", "legacy"])
def attempt(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[bytes, Callable[[bytes], FileHeader | None]]:
    """A sound file's bytes, and how other bytes are read: None if they are refused."""
    folder, numbers = tmp_path_factory.mktemp(request.param), itertools.count()

    def read(content: bytes) -> FileHeader | None:
        path = folder / f"{next(numbers)}.pth"
        path.write_bytes(content)
        try:
            return read_torch(path)
        except ModelFileError:
            return None
        finally:
            path.unlink()

    return saved(request.param, folder), read


Attempt = tuple[bytes, Callable[[bytes], FileHeader | None]]


def test_every_truncation_is_refused(attempt: Attempt) -> None:
    content, read = attempt
    assert read(content) is not None
    assert [size for size in range(len(content)) if read(content[:size]) is not None] == []


@given(st.data())
def test_any_damage_is_refused_or_told_as_what_is_there(attempt: Attempt, data: Any) -> None:
    """A zip has sums of all that is read here; in the older form other weights may be meant."""
    content, read = attempt
    changed = bytearray(content)
    places = st.integers(0, len(content) - 1)
    for place, value in data.draw(
        st.dictionaries(places, st.integers(0, 255), min_size=1, max_size=3)
    ).items():
        changed[place] = value
    found, sound = read(bytes(changed)), read(content)
    assert sound is not None
    if found is not None:
        assert all(
            0 <= each.start <= each.start + each.span_bytes <= len(content)
            for each in found.tensors.values()
        )
        assert content[:2] != b"PK" or found.tensors == sound.tensors


@given(st.binary(max_size=300), st.sampled_from((b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04\x95")))
def test_any_bytes_are_refused(attempt: Attempt, data: bytes, start: bytes) -> None:
    assert attempt[1](start + data) is None


def test_a_header_of_a_large_file_costs_little(tmp_path: Path) -> None:
    path = tmp_path / "f.ckpt"
    torch.save({"a": torch.zeros(2**24, dtype=torch.uint8)}, path)
    tracemalloc.start()
    read_tensor_infos(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_sizes_that_a_zip_only_says_are_not_believed(tmp_path: Path) -> None:
    content = zipped(held(tensor()))
    end = content.rindex(b"PK\x05\x06")
    for size in (2**24 + 1, 2**32 - 2):
        lying = content[: end + 12] + struct.pack("<I", size) + content[end + 16 :]
        (tmp_path / f"{size}.pth").write_bytes(lying)
        with pytest.raises(ModelFileError):
            read_tensor_infos(tmp_path / f"{size}.pth")


def test_heads_need_no_torch(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "f.pth")
    code = (
        "import sys; from pathlib import Path;"
        "from latentloom.diffusion.weights.headers import read_tensor_infos;"
        f"print(len(read_tensor_infos(Path({json.dumps(str(tmp_path / 'f.pth'))}))));"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1\n")
