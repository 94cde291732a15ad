"""What a running node may ask of the engine: progress, cancellation, where to write."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import RunCancelledError

OnProgress = Callable[[int, int, object | None], None]


@dataclass(frozen=True)
class Saved:
    """What an output node returns: the files it wrote, and what is to be shown as text."""

    paths: tuple[Path, ...]
    text: str = ""


def _nothing(_step: int, _total: int, _preview: object | None) -> None:
    return None


@dataclass
class Context:
    """Given to a node that has a parameter of this type; one for each call of a node.

    Attributes:
        node: id of the node in the graph.
        output_dir: folder that output nodes write to; names must stay inside it.
        temp_dir: folder for previews.
        model_calls: evaluations of the denoising network so far.
    """

    node: str = ""
    output_dir: Path = field(default_factory=lambda: Path("output"))
    temp_dir: Path = field(default_factory=lambda: Path(tempfile.gettempdir()) / "latentloom")
    cancelled: Callable[[], bool] = bool
    on_progress: OnProgress = _nothing
    metadata: Callable[[], Mapping[str, str]] = dict
    model_calls: int = 0

    def progress(self, step: int, total: int, preview: object | None = None) -> None:
        """Report `step` of `total`; `preview` is what a consumer may show of it.

        Raises:
            RunCancelledError: the run was cancelled.
        """
        self.check()
        self.on_progress(step, total, preview)

    def check(self) -> None:
        """Raise Cancelled if the run was cancelled; call it between pieces of long work."""
        if self.cancelled():
            raise RunCancelledError(f"cancelled while node {self.node} ran")

    def count_model_call(self) -> None:
        """Count one evaluation of the denoising network, and stop here if cancelled."""
        self.check()
        self.model_calls += 1

    def embedded(self) -> dict[str, str]:
        """Text to embed in an image so that the image alone can be run again."""
        return dict(self.metadata())
