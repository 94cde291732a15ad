"""Networks that a file leaves out: handles of them travel, and say what is missing when used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelFileError


class MissingWeights:
    """Stands for weights that are not there; any use but telling them apart is an error."""

    def __init__(self, message: str) -> None:
        self.message = message
        self.digest = message
        self.nbytes = 0

    def __getattr__(self, name: str) -> Any:
        raise ModelFileError(self.message)


@dataclass(frozen=True)
class MissingPart:
    """A network that a file may leave out.

    Attributes:
        hint: how to get it.
    """

    name: str
    hint: str

    def describe(self, path: Path) -> str:
        """What is wrong with the file."""
        return f"{path.name} holds no {self.name}"

    def placeholder(self, path: Path) -> Any:
        """What stands for its weights."""
        return MissingWeights(f"{self.describe(path)}; {self.hint}")


TEXT_ENCODER = MissingPart("text encoder", "load one with CLIPLoader or DualCLIPLoader")
AUTOENCODER = MissingPart("autoencoder", "load one with VAELoader")
