"""One graph over every picture of a folder. What is done is written down, and not done again.

The ledger lies in the output folder: one line for each picture that is done, with the key of the
whole graph on it. A key is made of the graph, its values and the picture's content, so that a run
that was stopped goes on where it was, and a changed graph or picture is run anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..errors import GraphError, LatentloomError, Problem
from ..files.workspace import Workspace
from ..graph.graph import Graph
from ..node.cancel import CancelToken
from ..node.registry import Registry
from .events import OnEvent
from .executor import Engine
from .plan import Plan

ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
LEDGER = ".latentloom-batch.jsonl"
NAME_KNOB = "name"
PICTURE = "input"


@dataclass(frozen=True)
class Turn:
    """What became of one picture.

    Attributes:
        state: "known" is what an earlier run did already.
        saved: the files that are there for it.
        errors: why it failed.
    """

    picture: Path
    state: Literal["ran", "known", "failed", "cancelled"]
    saved: tuple[Path, ...] = ()
    errors: tuple[LatentloomError, ...] = ()
    model_calls: int = 0


def pictures_in(folder: Path) -> list[Path]:
    """The PNG, JPEG and WebP files right in a folder, by name; hidden ones are left out.

    Raises:
        OSError: it is no folder that can be read.
    """
    found = (path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


def run_folder(
    engine: Engine,
    graph: Graph,
    workspace: Workspace,
    folder: Path,
    knob: str = "",
    on_event: OnEvent | None = None,
    cancel: CancelToken | None = None,
) -> Iterator[Turn]:
    """Run a graph once for each picture of a folder, and yield what became of each.

    A picture that fails is passed over. Pictures are only read; outputs go to the workspace's
    output folder, which must be another one.

    Args:
        knob: the graph's input that takes the picture, or `node.input` of a node that loads one;
            may be left out where the graph has but one input of type image, or none and but one
            such node. An input `name` of type string takes the picture's name without ending.
        cancel: stops the picture in work, and all after it.

    Raises:
        GraphError: the graph has no such input, or the output folder is the folder itself.
        OSError: the folder cannot be read, or the ledger not be written.
    """
    knob, token = _chosen(graph, engine.registry, knob), cancel or CancelToken()
    if workspace.output_dir.resolve() == folder.resolve():
        facts = ("an output folder besides the pictures'", str(folder), "", "choose another one")
        raise GraphError([Problem("bad_output", "", "", "", *facts)])
    ledger = _Ledger(workspace.output_dir)
    for picture in pictures_in(folder):
        if token.is_set():
            return
        change = graph.knob if knob in graph.inputs else graph.set
        one = change(knob, str(picture.absolute()))
        if graph.inputs.get(NAME_KNOB) and graph.inputs[NAME_KNOB].type == "string":
            one = one.knob(NAME_KNOB, picture.stem)
        place = replace(workspace, granted=workspace.granted | {picture.absolute()})
        yield _turn(engine, one, place, picture, ledger, on_event, token)


def _turn(
    engine: Engine,
    graph: Graph,
    workspace: Workspace,
    picture: Path,
    ledger: _Ledger,
    on_event: OnEvent | None,
    token: CancelToken,
) -> Turn:
    try:
        key = _key(engine.plan(graph, workspace))
        known = ledger.saved(key)
        if known is not None:
            return Turn(picture, "known", known)
        result = engine.run(graph, workspace, on_event=on_event, cancel=token)
    except GraphError as error:
        return Turn(picture, "failed", errors=(error,))
    saved = tuple(dict.fromkeys(path for _, path in result.saved))
    if result.status == "cancelled":
        return Turn(picture, "cancelled", saved, model_calls=result.model_calls)
    if result.errors:
        return Turn(picture, "failed", saved, tuple(result.errors), result.model_calls)
    ledger.add(key, picture.name, saved)
    return Turn(picture, "ran", saved, model_calls=result.model_calls)


def _chosen(graph: Graph, registry: Registry, name: str) -> str:
    """The graph's input, or the `node.input`, that takes the pictures."""
    images = [knob for knob, given in graph.inputs.items() if given.type == "image"]
    places = [
        f"{id}.{port.name}"
        for id, node in graph.nodes.items()
        if (spec := registry.get(node.type)) is not None
        for port in spec.inputs
        if port.file is not None
        and port.file.kind == PICTURE
        and isinstance(node.inputs.get(port.name), str)
    ]
    open_to = images or places
    if not name and len(open_to) == 1:
        return open_to[0]
    if name in images or name in places:
        return name
    known = ", ".join(images + places)
    wanted = f"an input that takes a picture: {known or 'there is none'}"
    hint = "say with --knob which takes the pictures" if known else "add a LoadImage"
    facts = (wanted, name or "none chosen", "", hint)
    raise GraphError([Problem("unknown_input", "inputs", "graph", name, *facts)])


def _key(plan: Plan) -> str:
    keys = "\n".join(f"{id} {step.key}" for id, step in sorted(plan.nodes.items()))
    return hashlib.sha256(keys.encode()).hexdigest()


class _Ledger:
    """What is done, in a file to which lines are added."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / LEDGER
        self._done: dict[str, tuple[Path, ...]] = {}
        text = self.path.read_text("utf-8", "replace") if self.path.is_file() else ""
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                saved = tuple(folder / str(name) for name in entry["saved"])
                self._done[str(entry["key"])] = saved
            except (ValueError, LookupError, TypeError, RecursionError):
                continue  # a line that a crash cut short: its picture is run again

    def saved(self, key: str) -> tuple[Path, ...] | None:
        """The files of what is done and all there still; None otherwise."""
        found = self._done.get(key)
        return found if found is not None and all(path.is_file() for path in found) else None

    def add(self, key: str, picture: str, saved: tuple[Path, ...]) -> None:
        """Write down that a picture is done; on disk when this returns."""
        names = [os.path.relpath(path, self.folder) for path in saved]
        line = json.dumps({"key": key, "picture": picture, "saved": names}, ensure_ascii=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as sink:
            sink.write(f"\n{line}\n" if _torn(self.path) else f"{line}\n")
            sink.flush()
            os.fsync(sink.fileno())
        self._done[key] = saved


def _torn(path: Path) -> bool:
    """Whether a file's last line has no end."""
    with path.open("rb") as stream:
        if not stream.seek(0, os.SEEK_END):
            return False
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) != b"\n"
