"""The architecture: who may import whom, how large files are, what is loaded when."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

PACKAGE = ("engine", "diffusion", "nodes", "console", "web")
DOORS = ("__init__.py", "__main__.py", "cli.py", "server.py")
OURS = {*PACKAGE, *DOORS, "training", "bench", "tests"}
LIBRARIES = {
    "engine": {"networkx", "pandas", "simpleeval", "yaml"},
    "diffusion": {
        "torch", "diffusers", "transformers", "safetensors", "numpy", "PIL", "scipy", "torchsde",
        "huggingface_hub", "instant_clip_tokenizer", "sentencepiece", "tiktoken", "tokenizers",
        "yaml", "cv2", "triton",
    },
    "nodes": {"torch", "numpy", "regex", "simpleeval"},
    "console": {"rich"},
    "web": {"aiohttp"},
    "__init__.py": set[str](),
    "__main__.py": set[str](),
    "cli.py": set[str](),
    "server.py": set[str](),
}  # fmt: skip
MAY_IMPORT = {
    "engine": {"engine"},
    "diffusion": {"diffusion"},
    "nodes": {"engine", "diffusion", "nodes"},
    "console": {"engine", "console"},
    "web": {"engine", "web"},
    "__init__.py": {"engine", "nodes"},
    "__main__.py": {"cli"},
    "cli.py": {"engine", "console", "web", "nodes"},
    "server.py": {"web", "nodes"},
}
FILES = sorted(
    path
    for name in OURS
    for path in ([ROOT / name] if name.endswith(".py") else (ROOT / name).rglob("*.py"))
)
# The rooms of a folder, from the top floor down: imports go down only.
FLOORS = {
    "engine": ("execution", "cache", "formats", "graph", "node", "files", "jobs", "errors"),
    "diffusion": (
        "sampling", "conditioning", "patches", "networks", "text", "latents", "samplers",
        "schedules", "weights", "families", "images", "compatibility", "errors",
    ),
}  # fmt: skip


def module_of(path: Path) -> list[str]:
    """The name of a file's package, as it is imported."""
    parts = list(path.relative_to(ROOT).parent.parts)
    return ["latentloom", *parts] if not parts or parts[0] in PACKAGE else parts


def imports(path: Path) -> Iterator[str]:
    """Absolute names of the modules, or of what is in them, that a file imports."""
    package = module_of(path)
    for result in ast.walk(ast.parse(path.read_text())):
        if isinstance(result, ast.Import):
            yield from (alias.name for alias in result.names)
        elif isinstance(result, ast.ImportFrom):
            base = package[: len(package) - result.level + 1] if result.level else ()
            module = ".".join([*base, *([result.module] if result.module else [])])
            yield from (f"{module}.{alias.name}" for alias in result.names)


def members(room: str) -> list[Path]:
    return [path for path in FILES if path.relative_to(ROOT).parts[0] == room]


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_what_it_may(folder: str) -> None:
    ours = {f"latentloom.{name}" for name in MAY_IMPORT[folder]}
    others = LIBRARIES[folder] | set(sys.stdlib_module_names)
    result = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in members(folder)
        for name in imports(path)
        if name.split(".")[0] not in others
        and ".".join(name.split(".")[:2]) not in ours
        and not (name.startswith("PIL") and path.parent.name == "formats")
    }
    assert result == set()


@pytest.mark.parametrize(
    ("folder", "room"), [(folder, room) for folder, rooms in FLOORS.items() for room in rooms]
)
def test_a_room_imports_only_the_rooms_below_it(folder: str, room: str) -> None:
    below = FLOORS[folder][FLOORS[folder].index(room) :]
    result = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / folder / room).rglob("*.py")
        for name in imports(path)
        if name.startswith(f"latentloom.{folder}.") and name.split(".")[2] not in below
    }
    assert result == set()


@pytest.mark.parametrize("folder", FLOORS)
def test_every_module_is_in_a_room_that_says_what_belongs_there(folder: str) -> None:
    rooms = {path.relative_to(ROOT / folder).parts[0] for path in members(folder)} - {"__init__.py"}
    assert {room.removesuffix(".py") for room in rooms} == {*FLOORS[folder]}
    assert {room for room in rooms if room.endswith(".py")} <= {"errors.py", "compatibility.py"}
    for room in rooms - {"errors.py", "compatibility.py"}:
        doc = ast.get_docstring(ast.parse((ROOT / folder / room / "__init__.py").read_text()))
        assert doc, room


@pytest.mark.parametrize("folder", PACKAGE)
def test_modules_import_each_other_in_no_circle(folder: str) -> None:
    modules = {".".join([*module_of(path), path.stem]): path for path in members(folder)}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    graph = {
        name: {
            module
            for result in imports(path)
            if (module := result if result in modules else result.rpartition(".")[0]) in modules
        }
        - {name}
        for name, path in modules.items()
    }
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(modules)


def test_the_package_is_imported_by_its_name_alone() -> None:
    result = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in FILES
        for name in imports(path)
        if name.split(".")[0] in {*PACKAGE, "cli", "server"}
    }
    assert result == set()


def test_nodes_import_no_other_nodes_but_ports_and_checks() -> None:
    result = {
        f"{path.name}: {name}"
        for path in members("nodes")
        for name in imports(path)
        if name.startswith("latentloom.nodes.") and name.split(".")[2] not in {"ports", "checks"}
    }
    assert result == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def test_no_module_is_named_like_one_of_the_standard_library() -> None:
    tops = {path.stem for path in FILES if path.parent == ROOT}
    assert {*tops, *PACKAGE} & set(sys.stdlib_module_names) == set()


def test_the_name_of_a_public_class_exists_once() -> None:
    names = Counter(
        item.name
        for path in FILES
        if path.relative_to(ROOT).parts[0] in {*PACKAGE, *DOORS}
        for item in ast.walk(ast.parse(path.read_text()))
        if isinstance(item, ast.ClassDef) and not item.name.startswith("_")
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_no_file_is_a_drawer() -> None:
    assert {path.stem for path in FILES} & {"utils", "helpers", "common", "misc"} == set()


HEAVY = ("torch", "diffusers", "transformers", "scipy", "numpy")


@pytest.mark.parametrize(
    "code",
    [
        "from latentloom.engine import execution, formats, graph",
        "import latentloom; latentloom.registry()",
        "from latentloom import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass",
        "from latentloom import cli; cli.main(['nodes'])",
        "from latentloom import cli; cli.main(['nodes', 'KSampler'])",
        "from latentloom import cli; cli.main(['check', 'graphs/img2img.yaml'])",
        "from latentloom import cli; cli.main(['plan', 'graphs/img2img.yaml'])",
        "from latentloom import cli; cli.main(['models'])",
        "import latentloom.web.app; latentloom.registry()",
    ],
)
def test_nothing_heavy_is_loaded_before_a_node_runs(code: str) -> None:
    probe = f"{code}\nimport sys; sys.exit(str([m for m in {HEAVY} if m in sys.modules] or ''))"
    result = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert result.stderr == "\n"


def test_the_world_knows_no_network_and_no_stage_is_judged_by_itself() -> None:
    barred = {"world": ("stages", "judging"), "stages": ("judging",)}
    result = [
        f"{path.relative_to(ROOT)}: {name}"
        for room, others in barred.items()
        for path in (ROOT / "training" / room).glob("*.py")
        for name in imports(path)
        if name.startswith(tuple(f"training.{other}" for other in others))
    ]
    assert not result
