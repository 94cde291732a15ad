"""Networks that a file leaves out: handles of them travel, and say what is missing when used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import ModelFileError


class Absent:
    """Stands for weights that are not there; any use but telling them apart is an error."""

    def __init__(self, message: str) -> None:
        self.message = message
        self.digest = message
        self.nbytes = 0

    def __getattr__(self, name: str) -> Any:
        raise ModelFileError(self.message)


def absent(path: Path, what: str, loader: str) -> Any:
    """Weights that a file leaves out.

    Args:
        what: is missing.
        loader: the node that loads one.
    """
    return Absent(f"{path.name} holds no {what}; load one with {loader}")
