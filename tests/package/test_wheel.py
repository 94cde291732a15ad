"""The wheel: built, installed into a bare environment, and run there."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from tests.package.environments import bare_environment, call
from tests.paths import ROOT

FOLDERS = ("engine", "diffusion", "nodes", "console", "web")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a source distribution, as installers build it."""
    folder = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("latentloom-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_environment(tmp_path_factory.mktemp("venv"), wheel)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A working folder whose files have the names of this project's folders and modules."""
    for name in (*FOLDERS, "graphs", "models", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError(__name__)\n")
    for name in ("cli", "server", "execution", "weights", "sampling"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError(__name__)\n")
    return tmp_path


def test_the_wheel_holds_the_code_the_graphs_and_the_model(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    code = {
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
    }
    others = {
        "__init__.py",
        "py.typed",
        "__main__.py",
        "cli.py",
        "server.py",
        "web/extension/plan.js",
        "graphs/img2img.yaml",
        "graphs/inputs/house.png",
        "graphs/thumbnails/img2img.webp",
        "models/demo/model_index.json",
        "models/demo/unet/diffusion_pytorch_model.safetensors",
    }
    assert {f"latentloom/{path}" for path in code | others} <= names


def test_the_wheel_puts_one_package_at_the_top(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    folders = {name.split("/")[1] for name in names if name.count("/") > 1}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"latentloom"}
    assert folders - {"licenses"} == {*FOLDERS, "graphs", "models"}


def test_the_wheel_holds_the_shipped_models_and_no_others(wheel: Path) -> None:
    prefix = "latentloom/models/"
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith(prefix)}
    sums = (ROOT / "models" / "SHA256SUMS").read_text().splitlines()
    shipped = {line.split()[1] for line in sums} | {
        "SHA256SUMS", "demo/README.md", "demo/curves.png",
    }  # fmt: skip
    assert held == {prefix + name for name in shipped}


def test_the_wheel_runs_a_shipped_graph_by_name(installed: Path, hostile: Path) -> None:
    code = "import latentloom; print(latentloom.__file__)"
    assert str(installed.parent) in call(installed / "python", "-c", code, cwd=hostile)
    out = call(installed / "latentloom", "run", "img2img", "--output", "out", cwd=hostile)
    assert out.strip() == str(hostile / "out" / "img2img_00001_.png")
    assert (hostile / "out" / "img2img_00001_.png").stat().st_size > 1000


def test_mypy_sees_the_types_of_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import latentloom\n"
        "from latentloom import Between, Image, node\n"
        "reveal_type(latentloom.load('a.yaml').set_input('denoise', 0.5))\n"
        "reveal_type(latentloom.run('img2img').seconds)\n"
    )
    config = tmp_path / "mypy.ini"
    # The types of torch are not at stake, and reading them takes minutes.
    config.write_text(
        "[mypy]\nstrict = True\n[mypy-torch.*,networkx.*,PIL.*]\nfollow_imports = skip\n"
    )
    result = call(
        sys.executable, "-m", "mypy", "--config-file", config, "--cache-dir", tmp_path / "cache",
        "--python-executable", installed / "python", program, cwd=tmp_path,
    )  # fmt: skip
    assert 'Revealed type is "latentloom.engine.graph.graph.Graph"' in result
    assert 'Revealed type is "float"' in result


def test_an_editable_install_works_under_any_folder_name(hostile: Path) -> None:
    checkout = hostile / "any name"
    checkout.mkdir()
    for path in (*FOLDERS, "graphs", "models", "__init__.py", "__main__.py", "cli.py", "server.py",
                 "pyproject.toml", "README.md", "LICENSE", "py.typed"):  # fmt: skip
        (checkout / path).symlink_to(ROOT / path)
    folder = hostile / "venv"
    folder.mkdir()
    binaries = bare_environment(folder, "-e", checkout)
    code = "import latentloom.engine.graph; print(latentloom.__file__)"
    for location in (hostile, checkout):
        assert call(binaries / "python", "-c", code, cwd=location).strip() == str(
            checkout / "__init__.py"
        )
    for command in ([binaries / "latentloom"], [binaries / "python", "-m", "latentloom"]):
        assert "KSampler" in call(*command, "nodes", cwd=hostile)
    assert "--port" in call(binaries / "python", checkout / "server.py", "--help", cwd=hostile)
