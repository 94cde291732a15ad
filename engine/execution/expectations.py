"""A graph's own tests: its expectations, compared with what it gives."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError, LatentloomError
from ..files.folder import open_folder, read_inside
from ..files.workspace import Workspace, safe_path
from ..graph.expectations import Expectation, read_expectations, split_target
from ..graph.graph import Graph
from ..graph.literal import describe_value
from ..node.cancel import CancelToken
from ..node.context import Saved
from ..node.image_service import image_service
from .events import OnEvent
from .executor import Engine, Result

MAX_GOLDEN_BYTES = 512 * 2**20


class _UnmetError(Exception):
    """An expectation that is not met; its text says why."""


@dataclass(frozen=True)
class ExpectationResult:
    """The outcome of one expectation; `reason` is why it is not met, empty if it is."""

    expectation: Expectation
    reason: str = ""

    @property
    def is_met(self) -> bool:
        """True if the graph gave what was expected."""
        return not self.reason


def check_expectations(
    engine: Engine,
    graph: Graph,
    files: Workspace,
    on_event: OnEvent | None = None,
    cancel: CancelToken | None = None,
    update: bool = False,
) -> list[ExpectationResult]:
    """Run the nodes that a graph has expectations of, and return the outcome of each.

    What the graph saves is in a temporary folder that is removed. Caches are used.

    Args:
        files: images are looked for in its `graph_dir`.
        update: write the images that an expectation names instead of comparing with them.

    Raises:
        FormatError: an expectation has another form.
        GraphError: the graph cannot run.
    """
    expectations = read_expectations(graph.expect)
    if not expectations:
        return []
    located = [split_target(item.target, graph) for item in expectations]
    targets = list(dict.fromkeys(node for node, _ in located))
    folder = files.graph_dir
    with tempfile.TemporaryDirectory(prefix="latentloom-test-") as saved:
        target = replace(files, output_dir=Path(saved), writes_manifests=False)
        result = engine.run(graph, target, targets, on_event, cancel)
        return [
            ExpectationResult(item, _check(item, where, result, engine, folder, update))
            for item, where in zip(expectations, located, strict=True)
        ]


def _check(
    item: Expectation,
    where: tuple[str, tuple[str, ...]],
    result: Result,
    engine: Engine,
    folder: Path | None,
    update: bool,
) -> str:
    """Return why an expectation is not met; empty if it is."""
    node, path = where
    report = result.nodes[node]
    if report.state not in ("ran", "reused"):
        errors = [str(error) for error in result.errors]
        return "\n".join(errors) or f"{node} did not run: {report.why}"
    try:
        outputs = engine.registry[report.type].outputs
        value = _value_at(result[node], [output.name for output in outputs], path, item.target)
        if item.like:
            _check_images(item, value, engine, folder, update)
        else:
            _check_value(item, value)
    except _UnmetError as error:
        return str(error)
    except (LatentloomError, OSError, ValueError, KeyError) as error:
        return str(error)
    return ""


def _value_at(outputs: Any, names: Sequence[str], fields: Sequence[str], target: str) -> Any:
    """Return the value that an expectation is about; a single output need not be named."""
    value, path = outputs, list(fields)
    if len(names) > 1:
        if not path or path[0] not in names:
            got = f"got {path[0]}" if path else "got none"
            raise _UnmetError(f"{target}: expected one of the outputs {', '.join(names)}, {got}")
        value = outputs[names.index(path.pop(0))]
    elif path and names and path[0] == names[0]:
        path.pop(0)
    for name in path:
        value = _field(value, name, target)
    return value


def _field(value: Any, name: str, target: str) -> Any:
    if isinstance(value, Mapping) and name in value:
        return value[name]
    if isinstance(value, tuple | list) and name.lstrip("-").isdigit():
        if -len(value) <= int(name) < len(value):
            return value[int(name)]
        raise _UnmetError(f"{target}: expected an index below {len(value)}, got {name}")
    is_public = not name.startswith("_") and not callable(getattr(value, name, None))
    if is_public and hasattr(value, name):
        return getattr(value, name)
    raise _UnmetError(f"{target}: {type(value).__name__} has no {name}")


def _check_value(item: Expectation, value: Any) -> None:
    if value is not None and not isinstance(value, str | int | float):
        raise _UnmetError(f"expected a number or a string, got {describe_value(value)}")
    if not _meets(item, value):
        raise _UnmetError(f"expected {item}, got {value!r}")


def _meets(item: Expectation, value: str | int | float | None) -> bool:
    if item.has_value and not item.within:
        if isinstance(value, bool) or isinstance(item.value, bool):
            return value is item.value
        return value == item.value
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return False
    if item.has_value:
        is_number = isinstance(item.value, int | float)
        return is_number and abs(value - float(item.value or 0)) <= item.within
    is_high_enough = item.low is None or value >= item.low
    return is_high_enough and (item.high is None or value <= item.high)


def _check_images(
    item: Expectation, value: Any, engine: Engine, folder: Path | None, update: bool
) -> None:
    if folder is None:
        raise _UnmetError("expected a graph in a file, whose folder has the images")
    images = _images_of(value, engine)
    if images is None:
        raise _UnmetError(f"expected an image, got {describe_value(value)}")
    if len(images) != len(item.like):
        raise _UnmetError(f"expected {len(item.like)} images, got {len(images)}")
    for name, data in zip(item.like, images, strict=True):
        if update:
            _write(folder, name, data)
        else:
            _compare(item, name, data, engine, folder)


def _images_of(value: Any, engine: Engine) -> list[bytes] | None:
    if isinstance(value, Saved):
        return [path.read_bytes() for path in value.paths]
    return image_service(engine.registry).encode(value)


def _compare(item: Expectation, name: str, data: bytes, engine: Engine, folder: Path) -> None:
    try:
        golden = read_inside(folder, name, MAX_GOLDEN_BYTES)
    except FileNotFoundError as error:
        hint = "latentloom test --update writes it"
        raise _UnmetError(f"expected the image {name}, got none\n  try:     {hint}") from error
    try:
        comparison = image_service(engine.registry).compare(golden, data)
    except InputError as error:
        raise _UnmetError(f"{name}: expected {error.expected}, got {error.got}") from error
    part = comparison.everything
    if part.delta_e > item.within or (not item.within and comparison.max_levels):
        raise _UnmetError(
            f"expected an image like {name} within a mean delta-E of {item.within:g}, got "
            f"{part.delta_e:.3f}: {part.changed} of {part.pixels} pixels differ, "
            f"PSNR {part.psnr_db:.1f} dB"
        )


def _write(folder: Path, name: str, data: bytes) -> None:
    path = safe_path(folder, name)
    with open_folder(path.parent) as parent, parent.temporary_file(data) as part:
        parent.replace(part, parent, path.name)
