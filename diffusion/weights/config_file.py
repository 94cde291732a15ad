"""The configuration files of a model folder, each value checked as it is read. No torch here."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelFileError

MAX_BYTES = 2**20
MAX_COUNT = 2**16


@dataclass(frozen=True)
class ConfigFile:
    """A configuration and the name to say in errors."""

    name: str
    values: dict[str, Any]

    def count(self, key: str, default: int | None = None) -> int:
        """A whole number from 1 to MOST_COUNT; what is missing or null has the default.

        Raises:
            ModelFileError: it is none, or is missing and has no default.
        """
        value = self.values.get(key)
        if value is None:
            value = default
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_COUNT:
            raise self.wrong(key, f"a whole number from 1 to {MAX_COUNT}")
        return value

    def positive(self, key: str, default: float) -> float:
        """A finite number above 0.

        Raises:
            ModelFileError: it is none.
        """
        value = self.values.get(key)
        if value is None:
            value = default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, "a number")
        if not 0 < value < math.inf:
            raise self.wrong(key, "a finite number above 0")
        return float(value)

    def length(self, key: str, default: int, most: int) -> int:
        """How many items a list has, from 1 to `most`.

        Raises:
            ModelFileError: it is no such list.
        """
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            raise self.wrong(key, f"a list of 1 to {most} items")
        return len(value)

    def wrong(self, key: str, expected: str) -> ModelFileError:
        """The error that a value is not what is wanted."""
        got = repr(self.values.get(key))[:60] if key in self.values else "nothing"
        return ModelFileError(f"{self.name}: {key}: expected {expected}, got {got}")


def read_config(path: Path) -> ConfigFile:
    """A configuration file.

    Raises:
        ModelFileError: it is missing, too large, or no JSON object.
    """
    name = f"{path.parent.name}/{path.name}"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelFileError(f"{name} is too large for a configuration")
        found = json.loads(path.read_text("utf-8"))
    except ModelFileError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{name} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ModelFileError(f"{name} holds no JSON object")
    return ConfigFile(name, found)
