"""The engine as a running node sees it: progress, cancellation, output folders."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RunCancelledError

OnProgress = Callable[[int, int, object | None], None]
MAX_NOTES = 64


@dataclass(frozen=True)
class Saved:
    """The result of an output node: the files that it wrote, and text for the user."""

    paths: tuple[Path, ...]
    text: str = ""


def _nothing(_step: int, _total: int, _preview: object | None) -> None:
    return None


@dataclass
class Context:
    """Passed to a node that has a parameter of this type; one for each call.

    Attributes:
        node: id of the node in the graph.
        output_dir: folder that output nodes write to; they must stay inside it.
        temp_dir: folder for previews.
        model_calls: evaluations of the denoising network so far.
        notes: what the call says of itself for manifests; see `note`.
    """

    node: str = ""
    output_dir: Path = field(default_factory=lambda: Path("output"))
    temp_dir: Path = field(default_factory=lambda: Path(tempfile.gettempdir()) / "latentloom")
    cancelled: Callable[[], bool] = bool
    on_progress: OnProgress = _nothing
    metadata: Callable[[], Mapping[str, str]] = dict
    model_calls: int = 0
    notes: dict[str, list[Any]] = field(default_factory=dict)

    def progress(self, step: int, total: int, preview: object | None = None) -> None:
        """Report `step` of `total`, with a value that clients may show as a preview.

        Raises:
            RunCancelledError: the run was cancelled.
        """
        self.check()
        self.on_progress(step, total, preview)

    def check(self) -> None:
        """Stop here if the run was cancelled; call it between pieces of long work.

        Raises:
            RunCancelledError: the run was cancelled.
        """
        if self.cancelled():
            raise RunCancelledError(f"cancelled in node {self.node}")

    def count_model_call(self) -> None:
        """Count one evaluation of the denoising network, and stop here if cancelled."""
        self.check()
        self.model_calls += 1

    def note(self, name: str, value: Any) -> None:
        """Add a value to what manifests say of this call, such as its sigmas.

        Args:
            value: plain JSON, decided by the node's inputs alone. A value that is noted already
                is not noted again; no more than `MAX_NOTES` are.
        """
        noted = self.notes.setdefault(name, [])
        if value not in noted and len(noted) < MAX_NOTES:
            noted.append(value)

    def embedded(self) -> dict[str, str]:
        """Return the metadata of images, by key, with which an image can be run again."""
        return dict(self.metadata())
