"""Networks that a file leaves out: their handles exist, and say what is missing when used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelFileError


class MissingWeights:
    """Placeholder for weights that a file does not have.

    Only `digest` and `nbytes` can be read; any other attribute raises ModelFileError.
    """

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
        name: the kind of network.
        hint: how to load it from elsewhere.
    """

    name: str
    hint: str

    def describe(self, path: Path) -> str:
        """Return a message that says what the file lacks."""
        return f"{path.name} holds no {self.name}"

    def placeholder(self, path: Path) -> Any:
        """Return a stand-in for the network's weights, which raises on use."""
        return MissingWeights(f"{self.describe(path)}; {self.hint}")


TEXT_ENCODER = MissingPart("text encoder", "load one with CLIPLoader or DualCLIPLoader")
AUTOENCODER = MissingPart("autoencoder", "load one with VAELoader")
