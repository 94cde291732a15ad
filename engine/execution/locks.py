"""Locks: what a graph uses, by content and version, and what differs from it here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ..cache.file_digests import FileDigests
from ..errors import LatentloomError
from ..files.workspace import Workspace
from ..formats.lock_file import Lock, LockedFile
from ..formats.manifest import UsedFile
from ..graph.graph import Graph
from ..graph.validate import prepare
from ..node.ports import File
from ..node.registry import Registry
from .environment import read_environment
from .manifests import kind_of, public_name
from .requirements import (
    SHORT_DIGEST,
    Discrepancy,
    compare_environments,
    compare_files,
    find_present_files,
)


class LockError(LatentloomError):
    """Files or versions that are not those of a lock; `differences` holds all of them."""

    def __init__(self, differences: Sequence[Discrepancy]) -> None:
        self.differences = tuple(differences)
        count = f"{len(differences)} difference{'s' if len(differences) > 1 else ''} from the lock"
        super().__init__("\n".join([*map(str, differences), count]))


def make_lock(graph: Graph, registry: Registry, files: Workspace) -> Lock:
    """Return the lock of a graph: all files that it names, and the versions here.

    Raises:
        GraphError: the graph cannot run.
    """
    preparation = prepare(graph, registry, files).checked()
    paths = {
        (kind_of(node, name), public_name(file.name)): file.path
        for node in preparation.nodes.values()
        for name, file in node.files.items()
    }
    locked: dict[tuple[str, str], LockedFile] = {}
    for used in find_present_files(preparation, FileDigests().digest):
        key = used.kind, used.sha256
        size_bytes = size_of_file(paths[used.kind, used.name])
        known = locked.get(key)
        if known is None:
            locked[key] = LockedFile(
                kind=used.kind,
                names=(used.name,),
                sha256=used.sha256,
                size_bytes=size_bytes,
                used_by=used.used_by,
            )
        else:
            names, used_by = (*known.names, used.name), (*known.used_by, *used.used_by)
            locked[key] = replace(known, names=names, used_by=used_by)
    return Lock(tuple(locked.values()), read_environment(registry, with_machine=False))


def compare_lock(
    lock: Lock, graph: Graph, registry: Registry, files: Workspace
) -> list[Discrepancy]:
    """Return what a graph would use here that is not in its lock, and what is missing or differs.

    A model under another name is the same if its content is. The version of Python may differ.
    """
    preparation = prepare(graph, registry, files)
    present = find_present_files(preparation, FileDigests().digest)
    names = {(file.kind, file.name) for file in present}
    written = graph.bound()
    named = [
        used
        for file in lock.files
        for used in file.as_used()
        if (used.kind, used.name) in names or _is_named(used, written)
    ]
    digests = {(file.kind, file.sha256) for file in lock.files}
    differing = [file for file in present if (file.kind, file.sha256) not in digests]
    changed = {(file.kind, file.name) for file in differing}
    expected = [
        used
        for used in named
        if (used.kind, used.name) in changed or (used.kind, used.name) not in names
    ]
    locked_names = {(used.kind, used.name) for used in named}
    added = [
        Discrepancy(
            kind="not_locked",
            subject=f"{file.kind} {file.name}",
            expected="a file that is in the lock",
            got=f"one with SHA-256 {file.sha256[:SHORT_DIGEST]}...",
            hint="lock the graph again: latentloom lock FILE",
        )
        for file in differing
        if (file.kind, file.name) not in locked_names
    ]
    compared = compare_files(expected, present, preparation.problems)
    hinted = [_with_same_content(item, lock, registry) for item in compared]
    environment = read_environment(registry, with_machine=False)
    same_python = replace(environment, python=lock.environment.python)
    return [*hinted, *added, *compare_environments(lock.environment, same_python)]


def check_lock(lock: Lock, graph: Graph, registry: Registry, files: Workspace) -> None:
    """Refuse a graph whose files or versions are not those of its lock.

    Raises:
        LockError: something differs.
    """
    differences = compare_lock(lock, graph, registry, files)
    if differences:
        raise LockError(differences)


def model_files(registry: Registry) -> list[File]:
    """Return the kinds of model files that inputs of nodes can name, sorted."""
    files = {
        file.kind: file
        for spec in registry.values()
        for port in spec.inputs
        for file in port.file_kinds
        if file.names is not None and file.resolve is not None
    }
    return [files[kind] for kind in sorted(files)]


def find_models(
    registry: Registry, digest: str, kind: str = "", size_bytes: int | None = None
) -> Iterator[tuple[str, str, str]]:
    """Yield kind, name and SHA-256 of each installed model whose digest begins so.

    Every model is read once, unless its digest is stored.

    Args:
        kind: only of this kind; by default of all.
        size_bytes: only those of this size, which spares reading the others.
    """
    for file in model_files(registry):
        if kind and file.kind != kind:
            continue
        assert file.names is not None
        assert file.resolve is not None
        for name in file.names():
            try:
                path = file.resolve(name)
                if size_bytes is not None and size_of_file(path) != size_bytes:
                    continue
                known = (file.digest or FileDigests().digest)(path)
            except (LookupError, ValueError, OSError, LatentloomError):
                continue
            if known.startswith(digest):
                yield file.kind, name, known


def size_of_file(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    files: Iterable[Path] = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _is_named(file: UsedFile, graph: Graph) -> bool:
    """Return whether a node still names a file of the lock, or mentions it in a prompt."""
    for user in file.used_by:
        id, _, port = user.rpartition(".")
        node = graph.nodes.get(id) or graph.nodes.get(user.removesuffix(f".{file.name}"))
        if node is None:
            continue
        values = [node.inputs[port]] if port in node.inputs else list(node.inputs.values())
        for value in values:
            text = value if isinstance(value, str) else ""
            if file.name in (text, public_name(text)):
                return True
            # An embedding has the name "embedding NAME", and a prompt mentions NAME.
            if port not in node.inputs and file.name.rpartition(" ")[2] in text:
                return True
    return False


def _with_same_content(item: Discrepancy, lock: Lock, registry: Registry) -> Discrepancy:
    """Return a missing model's discrepancy with the name that its content has here, if any."""
    if item.kind not in ("missing_model", "changed_model"):
        return item
    for file in lock.files:
        subjects = [f"models/{file.kind} {name}" for name in file.names]
        if item.subject in subjects:
            for _, name, _ in find_models(registry, file.sha256, file.kind, file.size_bytes):
                change = f"--set {file.used_by[0]}={name}" if file.used_by else name
                return replace(item, hint=f"the same file is installed as {name}: {change}")
    return item
