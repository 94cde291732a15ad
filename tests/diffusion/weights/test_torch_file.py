"""Weight files in torch format give the tensors that torch reads, or a ModelFileError."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latentloom.diffusion.errors import ModelFileError
from latentloom.diffusion.families.tensor_info import TensorInfo
from latentloom.diffusion.weights.headers import (
    read_floats,
    read_header_bytes,
    read_metadata,
    read_tensor_infos,
)
from latentloom.diffusion.weights.weight_file import DTYPES, load_weights
from tests.torch_files import (
    SYSTEM,
    legacy_file,
    push,
    push_tensor,
    tensor_dict,
    zip_file,
)

BASE = torch.arange(24.0)
OLD_DTYPES = [
    dtype for dtype in DTYPES.values() if dtype.itemsize > 1 or not dtype.is_floating_point
]


def varied() -> dict[str, Any]:
    """Return tensors of all dtypes and layouts, two of them in one storage."""
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


def flatten(tree: dict[Any, Any], prefix: str = "") -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            tensors |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, Tensor):
            tensors[f"{prefix}{key}"] = value
    return tensors


def are_identical(first: Tensor, second: Tensor) -> bool:
    """Return True for tensors of one dtype and layout with the same bits."""
    pair = (first, second)
    layouts = [(tensor.dtype, tensor.shape, tensor.stride()) for tensor in pair]
    bits = [tensor.detach().contiguous().flatten().view(torch.uint8) for tensor in pair]
    return layouts[0] == layouts[1] and torch.equal(*bits)


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("is_zip", [True, False])
def test_the_tensors_are_those_that_torch_reads(
    tmp_path: Path, is_zip: bool, protocol: int
) -> None:
    saved, path = varied(), tmp_path / "f.pth"
    if not is_zip:  # torch cannot read back dtypes without a storage class from this format
        unreadable = ("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2")
        saved = {name: value for name, value in saved.items() if not name.endswith(unreadable)}
    torch.save(saved, path, _use_new_zipfile_serialization=is_zip, pickle_protocol=protocol)
    # With other protocols torch warns about limits of its own reader.
    expected = flatten(torch.load(path, weights_only=True) if protocol == 2 else saved)
    tensors, infos = load_weights(path), read_tensor_infos(path)
    assert list(tensors) == list(infos) == list(expected)
    assert all(are_identical(tensors[name], value) for name, value in expected.items())
    assert all(infos[name].shape == tuple(value.shape) for name, value in expected.items())
    assert all(DTYPES[infos[name].dtype] is value.dtype for name, value in expected.items())


def test_writing_to_a_tensor_does_not_change_the_file(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(4)}, tmp_path / "f.pth")
    before = (tmp_path / "f.pth").read_bytes()
    load_weights(tmp_path / "f.pth")["a"].fill_(5)
    assert (tmp_path / "f.pth").read_bytes() == before
    assert torch.equal(load_weights(tmp_path / "f.pth")["a"], torch.ones(4))


def test_weights_are_mapped_not_read(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2**22)}, tmp_path / "f.pth")
    before = resident_bytes()
    values = load_weights(tmp_path / "f.pth")["a"]
    assert resident_bytes() - before < 2**22
    assert float(values[-1]) == 1.0


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


INNER = {"x.weight": torch.ones(2)}


@pytest.mark.parametrize(
    "content",
    [
        INNER,
        {"state_dict": INNER, "epoch": 3, "optimizer_states": [{"a": torch.zeros(1)}]},
        {"params": {"other": torch.zeros(1)}, "params_ema": INNER},
        {"params": INNER, "params_ema": {}},
        {"model": INNER},
        {"x": {"weight": torch.ones(2)}, "step": 5},
    ],
)
def test_the_weights_are_found_among_other_content(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "f.ckpt")
    assert read_tensor_infos(tmp_path / "f.ckpt") == {"x.weight": TensorInfo("F32", (2,))}


def test_an_early_textual_inversion_holds_a_module(tmp_path: Path) -> None:
    vectors = torch.randn(2, 768)
    params = nn.ParameterDict({"*": nn.Parameter(vectors)})
    torch.save({"string_to_token": {"*": 265}, "string_to_param": params}, tmp_path / "f.pt")
    assert torch.equal(load_weights(tmp_path / "f.pt")["*"], vectors)


class TrainingOptions:
    """A stand-in for the options that training saves."""

    def __reduce__(self) -> Any:
        return Namespace, (), {"rate": 0.1, "path": "x"}


def test_notes_of_training_are_left_out(tmp_path: Path) -> None:
    annotated = torch.ones(2)
    annotated.origin = "a test"  # type: ignore[attr-defined]
    notes = {
        "args": Namespace(rate=0.1),
        "more": TrainingOptions(),
        "losses": np.zeros(3),
        "best": None,
    }
    torch.save({"state_dict": {"x": annotated}, **notes}, tmp_path / "f.ckpt")
    assert torch.equal(load_weights(tmp_path / "f.ckpt")["x"], torch.ones(2))


def test_a_lightning_checkpoint_with_classes_and_numbers_of_numpy(tmp_path: Path) -> None:
    lightning = b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n"
    callbacks = b"}" + lightning + push({"best": 0.5, "path": "x"}) + b"s"
    dtype = b"cnumpy\ndtype\n(" + push("f8") + b"\x89\x88tR(K\x03" + push("<") + b"tb"
    scalar = (
        b"cnumpy.core.multiarray\nscalar\n("
        + dtype
        + b"c_codecs\nencode\n("
        + (push("\0\0") + push("latin1") + b"tRtR")
    )
    state = (
        b"ccollections\nOrderedDict\n)R("
        + push("x")
        + push_tensor()
        + b"u}"
        + push("_metadata")
        + (b"}sb")
    )
    parts = {"callbacks": callbacks, "loss": scalar, "state_dict": state}
    pickled = b"\x80\x02}(" + b"".join(push(name) + part for name, part in parts.items()) + b"u."
    (tmp_path / "f.ckpt").write_bytes(zip_file(pickled))
    assert read_tensor_infos(tmp_path / "f.ckpt") == {"x": TensorInfo("F32", (4,))}


def test_floats_and_the_header_are_read_from_both_formats(tmp_path: Path) -> None:
    numbers = torch.tensor([1.5, -2.0, 0.25])
    for is_zip, dtype in itertools.product((True, False), (torch.bfloat16, torch.float16)):
        path = tmp_path / f"{is_zip}-{dtype}.pt"
        saved = {"v": numbers.to(dtype), "turned": torch.zeros(2, 2).t()}
        torch.save(saved, path, _use_new_zipfile_serialization=is_zip)
        assert read_floats(path, "v") == (1.5, -2.0, 0.25)
        assert read_metadata(path) == {}
        assert read_header_bytes(path)[:1] == b"\x80"
        assert len(read_header_bytes(path)) < path.stat().st_size
        with pytest.raises(ModelFileError, match="not a small tensor"):
            read_floats(path, "turned")


BIG_ENDIAN = {**SYSTEM, "little_endian": False}
TWO_OF_ONE_NAME = (
    b"\x80\x02}("
    + (push("a.b") + push_tensor())
    + (push("a") + b"}" + push("b") + push_tensor() + b"s")
    + b"u."
)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("f.pth", b"", "neither"),
        ("f.pth", b"text", "neither"),
        ("f.pth", b"\0" * 257 + b"ustar" + b"\0" * 300, "tar format"),
        ("f.pth", b"\x10" + bytes(7) + b'{"__metadata__"}', r"rename it to \.safetensors"),
        ("f.pth", b"PK\x03\x04", "cut short"),
        ("f.pth", b"\x80\x02}.", "a pickle without weights"),
        ("f.pth", zip_file(b"\x80\x02N."), "no tensors with names"),
        ("f.pth", zip_file(b"\x80\x02" + push_tensor() + b"."), "no tensors with names"),
        ("f.pth", legacy_file(tensor_dict()) + b"PK", "data after its weights"),
        ("f.pth", legacy_file(tensor_dict())[:-1], "cut short"),
        ("f.pth", legacy_file(tensor_dict(), system=BIG_ENDIAN), "big-endi"),
        ("f.pth", zip_file(tensor_dict(), byteorder=b"big"), "big-endian"),
        ("f.pth", zip_file(tensor_dict()) + b"\0", "data after its end"),
        ("f.pth", b"\0" + zip_file(tensor_dict()), "neither"),
        ("f.pth", b"PK\x03\x04" + zip_file(tensor_dict()), "overlap or leave gaps"),
        ("f.pth", zip_file(tensor_dict() + b"x"), "data after its pickle"),
        ("f.pth", zip_file(tensor_dict(), data=bytes(12)), "cut short"),
        ("f.pth", zip_file(tensor_dict(kind="torch\nQInt8Storage")), "QInt8Storage, which is not"),
        ("f.pth", zip_file(tensor_dict(shape=(5,))), "larger than its storage"),
        ("f.pth", zip_file(tensor_dict(shape=(2**40,), stride=(0,))), "larger than its storage"),
        ("f.pth", zip_file(tensor_dict(shape=(3,), stride=(2,))), "outside its storage"),
        ("f.pth", zip_file(tensor_dict(offset=1)), "outside its storage"),
        ("f.pth", zip_file(tensor_dict(offset=-1)), "damaged"),
        ("f.pth", zip_file(tensor_dict(shape=(True,))), "damaged"),
        ("f.pth", zip_file(tensor_dict(key="1")), "not a complete torch weight file"),
        ("f.pth", zip_file(tensor_dict(count=2**62)), "cut short"),
        ("f.pth", zip_file(TWO_OF_ONE_NAME), "twice"),
        ("f.pth", zip_file(tensor_dict("x" * 600)), "too long"),
        ("f.pth", zip_file(tensor_dict("\ud800")), "not a complete torch weight file"),
        ("f.safetensors", zip_file(tensor_dict()), "it is a zip"),
        ("f.safetensors", legacy_file(tensor_dict()), "it is a pickle"),
        ("f.sft", zip_file(tensor_dict()), "it is a zip"),
    ],
)  # fmt: skip
def test_an_invalid_weight_file_says_why(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelFileError, match=rf"{name}.*({message})"):
        read_tensor_infos(tmp_path / name)


def test_a_valid_file_made_by_hand_is_read(tmp_path: Path) -> None:
    """Show that the files above fail for no other reason."""
    for content in (zip_file(tensor_dict()), legacy_file(tensor_dict())):
        (tmp_path / f"{len(content)}.pth").write_bytes(content)
        tensors = load_weights(tmp_path / f"{len(content)}.pth")
        assert torch.equal(tensors["a"], torch.zeros(4))


def test_headers_are_read_without_torch(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "f.pth")
    code = (
        "import sys; from pathlib import Path;"
        "from latentloom.diffusion.weights.headers import read_tensor_infos;"
        f"print(len(read_tensor_infos(Path({json.dumps(str(tmp_path / 'f.pth'))}))));"
        "sys.exit('torch' in sys.modules)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True
    )
    assert (process.returncode, process.stdout) == (0, "1\n")
