"""`lock`, `--locked` and `pack`: what a graph needs, by content and version, for a colleague."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path, PurePosixPath

from latentloom.engine.errors import FormatError
from latentloom.engine.execution.executor import Engine
from latentloom.engine.execution.locks import check_lock, compare_lock, make_lock
from latentloom.engine.execution.manifests import kind_of, public_name
from latentloom.engine.execution.requirements import Discrepancy
from latentloom.engine.files.workspace import Workspace, split_annotated, why_unsafe
from latentloom.engine.formats import name_outputs, readable, save_graph, save_text
from latentloom.engine.formats.lock_file import SUFFIX, Lock, read_lock, write_lock
from latentloom.engine.graph.file_names import rename_files
from latentloom.engine.graph.prepared import Preparation
from latentloom.engine.graph.validate import prepare
from latentloom.engine.node.image_service import image_service

from .opening import Invocation
from .results import read_results
from .views import to_json

PREVIEW = "preview.jpg"
PREVIEW_SIDE_PX = 256


def write_lock_file(options: argparse.Namespace, job: Invocation) -> int:
    """Write FILE.lock and print its path; return the exit code.

    Raises:
        GraphError: the graph cannot run.
        OSError: the file cannot be written.
    """
    lock = make_lock(job.graph, job.registry, job.workspace)
    path = Path(options.out) if options.out else _lock_path(job.path)
    save_text(write_lock(lock), path)
    _print_written(options, path, lock)
    return 0


def require_lock(options: argparse.Namespace, job: Invocation) -> None:
    """Refuse to go on with `--locked` or `--lock` if something differs from the lock.

    Raises:
        FormatError: there is no lock, or it cannot be read.
        LockError: something differs.
    """
    if options.locked or options.lock:
        lock = read_lock(Path(options.lock) if options.lock else _lock_path(job.path))
        check_lock(lock, job.graph, job.registry, job.workspace)


def list_lock_differences(options: argparse.Namespace, job: Invocation) -> list[Discrepancy]:
    """Return what differs from the lock, with `--locked` or `--lock`; not the graph's problems.

    Raises:
        FormatError: there is no lock, or it cannot be read.
    """
    if not (options.locked or options.lock):
        return []
    lock = read_lock(Path(options.lock) if options.lock else _lock_path(job.path))
    differences = compare_lock(lock, job.graph, job.registry, job.workspace)
    return [item for item in differences if item.kind != "problem"]


def pack_folder(options: argparse.Namespace, job: Invocation, engine: Engine) -> int:
    """Export a graph, its input files, its lock and a small preview as a folder.

    Raises:
        FormatError: the folder exists, or two input files have one name.
        GraphError: the graph cannot run.
        OSError: a file cannot be read or written.
    """
    stem = job.path.name.partition(".")[0]
    folder = Path(options.out) if options.out else Path(f"{stem}_pack")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FormatError(f"{folder}: expected a new or empty folder, got one that is not empty")
    preparation = prepare(job.graph, job.registry, job.workspace).checked()
    copies, names = _plan_copies(preparation)
    graph = name_outputs(rename_files(job.graph, names), job.registry)
    if job.graph.document is not None:
        graph = readable(graph, job.registry)
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in copies.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)
    path = folder / f"{stem}.yaml"
    save_graph(graph, path, job.registry)
    files = Workspace(graph_dir=folder, input_dir=folder, output_dir=job.workspace.output_dir)
    lock = make_lock(graph, job.registry, files)
    save_text(write_lock(lock), _lock_path(path))
    # Saved images name files that were given by their path as the packed graph does.
    images = [
        image
        for known in (job.graph, graph)
        for image in read_results(job.path, known, engine, job.workspace)
    ]
    if images:
        preview = image_service(job.registry).shrink(images[0].data, PREVIEW_SIDE_PX)
        (folder / PREVIEW).write_bytes(preview.data)
    elif not options.json:
        print("no preview: this graph has no saved image yet", file=sys.stderr)
    _print_written(options, path, lock)
    return 0


def _plan_copies(preparation: Preparation) -> tuple[dict[str, Path], dict[str, str]]:
    """Return input files by their path in the folder, and new names by those in the graph."""
    copies: dict[str, Path] = {}
    names: dict[str, str] = {}
    for node in preparation.nodes.values():
        for port, file in node.files.items():
            if kind_of(node, port) != "input":
                continue
            plain, _ = split_annotated(public_name(file.name).replace("\\", "/"))
            name = str(PurePosixPath(plain))
            if why_unsafe(name) or copies.get(name, file.path) != file.path:
                raise FormatError(
                    f"{node.title} .{port}: expected input files with names of their own, got "
                    f"two named {name}; rename one"
                )
            copies[name] = file.path
            if file.name != name:
                names[file.name] = name
    return copies, names


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def _print_written(options: argparse.Namespace, path: Path, lock: Lock) -> None:
    models = [file for file in lock.files if file.kind != "input"]
    if options.json:
        counts = {"inputs": len(lock.files) - len(models), "models": len(models)}
        print(to_json({"status": "done", "path": str(path), **counts}))
    else:
        print(path)
