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
    """Built from a source distribution, as installers build it."""
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
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
        "latentloom/__init__.py",
        "latentloom/py.typed",
        "latentloom/cli.py",
        "latentloom/server.py",
        "latentloom/web/app.py",
        "latentloom/web/extension/plan.js",
        "latentloom/graphs/img2img.yaml",
        "latentloom/graphs/inputs/house.png",
        "latentloom/graphs/thumbnails/img2img.webp",
        "latentloom/models/demo/model_index.json",
        "latentloom/models/demo/unet/diffusion_pytorch_model.safetensors",
    } <= names
    code = {
        path.relative_to(ROOT).as_posix()
        for folder in ("engine", "diffusion", "nodes", "console", "web")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {f"latentloom/{path}" for path in code} <= names


def test_the_wheel_puts_one_package_at_the_top(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        folders = {name.split("/")[1] for name in archive.namelist() if name.count("/") > 1}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"latentloom"}
    assert folders & {"tests", "training", "bench", "docs", "setup.py"} == set()


def test_the_wheel_holds_the_shipped_models_and_no_others(wheel: Path) -> None:
    prefix = "latentloom/models/"
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith(prefix)}
    sums = (ROOT / "models" / "SHA256SUMS").read_text().splitlines()
    shipped = {line.split()[1] for line in sums} | {
        "SHA256SUMS", "demo/README.md", "demo/curves.png",
    }  # fmt: skip
    assert held == {prefix + name for name in shipped}


def test_the_wheel_runs_a_shipped_graph_by_name(installed: Path, tmp_path: Path) -> None:
    where = call(
        installed / "python", "-c", "import latentloom; print(latentloom.__file__)", cwd=tmp_path
    )
    assert str(installed.parent) in where
    out = call(installed / "latentloom", "run", "img2img", "--output", "out", cwd=tmp_path)
    assert out.strip() == str(tmp_path / "out" / "img2img_00001_.png")
    assert (tmp_path / "out" / "img2img_00001_.png").stat().st_size > 1000
