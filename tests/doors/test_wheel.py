"""The wheel: built, installed into a bare environment, and run there."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def call(*command: object, cwd: Path) -> str:
    found = subprocess.run(
        [str(part) for part in command], cwd=cwd, check=False, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    call(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT,
        cwd=folder,
    )  # fmt: skip
    (built,) = folder.glob("latentloom-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a bare environment with the wheel; the libraries it needs are lent to it."""
    folder = tmp_path_factory.mktemp("venv")
    call(sys.executable, "-m", "venv", folder, cwd=folder)
    binaries = folder / "bin"
    (packages,) = (folder / "lib").glob("python*/site-packages")
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    call(
        binaries / "python", "-m", "pip", "install", "-q", "--no-deps", "--no-index",
        "--ignore-installed", wheel, cwd=folder,
    )  # fmt: skip
    return binaries


def test_the_wheel_holds_the_code_the_graphs_and_the_model(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {
        "latentloom.py",
        "cli.py",
        "server.py",
        "web/app.py",
        "web/extension/plan.js",
        "engine/executor.py",
        "engine/formats/native.py",
        "diffusion/samplers/euler.py",
        "nodes/sampling.py",
        "console/progress.py",
        "latentloom_data/graphs/img2img.yaml",
        "latentloom_data/graphs/inputs/house.png",
        "latentloom_data/graphs/thumbnails/img2img.webp",
        "latentloom_data/models/demo/model_index.json",
        "latentloom_data/models/demo/unet/diffusion_pytorch_model.safetensors",
    } <= names
    assert not [name for name in names if name.startswith(("tests/", "training/", "bench/"))]


def test_the_wheel_holds_the_shipped_models_and_no_others(wheel: Path) -> None:
    prefix = "latentloom_data/models/"
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith(prefix)}
    sums = (ROOT / "models" / "SHA256SUMS").read_text().splitlines()
    shipped = {line.split()[1] for line in sums} | {
        "SHA256SUMS", "demo/README.md", "demo/curves.png",
    }  # fmt: skip
    assert held == {prefix + name for name in shipped}


def test_the_wheel_runs_a_shipped_graph_by_name(installed: Path, tmp_path: Path) -> None:
    where = call(installed / "python", "-c", "import engine; print(engine.__file__)", cwd=tmp_path)
    assert str(installed.parent) in where
    out = call(installed / "latentloom", "run", "img2img", "--output", "out", cwd=tmp_path)
    assert out.strip() == str(tmp_path / "out" / "img2img_00001_.png")
    assert (tmp_path / "out" / "img2img_00001_.png").stat().st_size > 1000
