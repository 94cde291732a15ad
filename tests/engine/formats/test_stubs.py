"""Stubs of the installed nodes: a type checker accepts right code and refuses wrong code."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pytest

from latentloom import registry
from latentloom.engine.formats.stubs import MODULE, node_stubs, write_stubs
from latentloom.engine.node.ports import Socket
from latentloom.engine.node.registry import Registry
from latentloom.engine.node.spec import node
from tests.paths import ROOT

RIGHT = """\
from latentloom_nodes import build

b = build("Right")
strength = b.input("denoise", "float", 0.5, min=0, max=1)
model, clip, vae = b.CheckpointLoaderSimple(ckpt_name="demo")
photo = b.LoadImage(image="a.png")
latent = b.VAEEncode(pixels=photo.IMAGE, vae=vae)
prompt = b.CLIPTextEncode(text="x", clip=clip)
sampled = b.KSampler(
    model=model, positive=prompt, negative=prompt.CONDITIONING, latent_image=latent,
    denoise=strength, cfg=7, sampler_name="euler", id="sample",
)
b.SaveImage(images=b.VAEDecode(samples=sampled[0], vae=vae))
count = len(b.graph.nodes)
"""
WRONG = {
    "b.SaveImage(images=b.LoadImage(image='a').MASK)": '"MaskOutput"; expected "ImageOutput',
    "b.SaveImage(images=b.LoadImage(image='a'))": 'incompatible type "LoadImageHandle"',
    "b.SaveImage()": 'Missing named argument "images"',
    "b.LoadImage(image='a').LATENT": 'has no attribute "LATENT"',
    "b.NoSuchNode()": 'has no attribute "NoSuchNode"',
    "b.EmptyLatentImage(width='x')": 'incompatible type "str"; expected "int',
    "b.ImageScaleBy(image=b.EmptyImage(), upscale_method='blurry')": "Literal['blurry']",
    "b.ImageInvert(photo=b.EmptyImage())": 'Unexpected keyword argument "photo"',
}

UNREAD = (
    "torch.*", "networkx.*", "PIL.*", "yaml.*", "latentloom.nodes.*", "latentloom.diffusion.*",
    "latentloom.engine.execution.*", "latentloom.engine.cache.*", "latentloom.engine.formats.*",
)  # fmt: skip


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The errors of mypy in right.py and wrong.py."""
    folder = tmp_path_factory.mktemp("stubs")
    write_stubs(registry(), folder)
    (folder / "right.py").write_text(RIGHT)
    wrong = ["from latentloom_nodes import build", 'b = build("Wrong")', *WRONG]
    (folder / "wrong.py").write_text("\n".join(wrong) + "\n")
    (folder / "path").mkdir()
    (folder / "path" / "latentloom").symlink_to(ROOT)
    # Other types are not at stake, and reading them takes a minute.
    (folder / "mypy.ini").write_text(
        "[mypy]\nstrict = True\nmypy_path = path\n[mypy-latentloom.*]\nfollow_imports = silent\n"
        f"[mypy-{','.join(UNREAD)}]\nfollow_imports = skip\n"
    )
    command = (sys.executable, "-m", "mypy", "--cache-dir", "cache", "right.py", "wrong.py")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=environment
    )
    lines = [line for line in result.stdout.splitlines() if ": error: " in line]
    assert result.stderr == ""
    return {name: [line for line in lines if line.startswith(name)] for name in ("right", "wrong")}


def test_mypy_accepts_right_code(reports: dict[str, list[str]]) -> None:
    assert reports["right"] == []


@pytest.mark.parametrize("code", WRONG)
def test_mypy_refuses_wrong_code(code: str, reports: dict[str, list[str]]) -> None:
    line = list(WRONG).index(code) + 3
    messages = [text for text in reports["wrong"] if text.startswith(f"wrong.py:{line}:")]
    assert any(WRONG[code] in message for message in messages)


def test_the_module_builds_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_stubs(registry(), tmp_path)
    assert path == tmp_path / f"{MODULE}.pyi"
    monkeypatch.syspath_prepend(tmp_path)
    names: dict[str, Any] = {}
    exec(RIGHT, names)
    assert names["count"] == 7


class Odd(NamedTuple):
    """Outputs whose names Python has other uses for."""

    count: Annotated[Any, Socket("THING-1")]
    index: Annotated[Any, Socket("*")]
    thing: int


@node("OddNode", category="test")
def odd_node(title: str, value: Annotated[Any, Socket("*")], id: int = 1) -> Odd:
    """Give "odd" outputs.\\"""
    return Odd(title, value, id)


@node("Odd node (pack)", category="test")
def unnamed() -> int:
    """Give a number."""
    return 1


def test_packs_with_odd_names_give_valid_stubs() -> None:
    text = node_stubs(Registry.of(odd_node, unnamed))
    tree = ast.parse(text)
    assert "Odd node" not in text
    assert "class OddNodeHandle(tuple[Thing1Output, AnyOutput, IntOutput]):" in text
    handle = next(
        item
        for item in tree.body
        if isinstance(item, ast.ClassDef) and item.name == "OddNodeHandle"
    )
    names = [item.name for item in handle.body if isinstance(item, ast.FunctionDef)]
    assert names == ["id", "thing"]
    assert "        value: Any,\n" in text
    assert "        **inputs: Any,\n" in text
