"""The configuration files of a model folder, each value checked as it is read. No torch here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelFileError

MAX_BYTES = 2**20
MAX_COUNT = 2**16
MIN_MEMBERS = 64
# Some networks hold a weight twice that their file holds once.
MAX_GROWTH = 4
_LAYER_COUNT = re.compile(r"(^|_)(layers?|blocks|depths?|stages)(_per_block)?$")


@dataclass(frozen=True)
class ConfigFile:
    """A configuration, and the file name that its error messages use."""

    name: str
    values: dict[str, Any]

    def read_count(self, key: str, default: int | None = None) -> int:
        """Return a whole number from 1 to MAX_COUNT; a missing or null value is the default.

        Raises:
            ModelFileError: the value is something else, or is missing without a default.
        """
        value = self.values.get(key)
        if value is None:
            value = default
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_COUNT:
            raise self.error(key, f"a whole number from 1 to {MAX_COUNT}")
        return value

    def read_positive(self, key: str, default: float) -> float:
        """Return a finite number above 0; a missing or null value is the default.

        Raises:
            ModelFileError: the value is something else.
        """
        value = self.values.get(key)
        if value is None:
            value = default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, "a number")
        if not 0 < value < math.inf:
            raise self.error(key, "a finite number above 0")
        return float(value)

    def read_length(self, key: str, default: int, max_length: int) -> int:
        """Return the length of a list, from 1 to `max_length`; a missing list has the default.

        Raises:
            ModelFileError: the value is something else.
        """
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, list) or not 1 <= len(value) <= max_length:
            raise self.error(key, f"a list of 1 to {max_length} items")
        return len(value)

    def check_layers(self, tensors: int) -> None:
        """Check that the network has no more layers than its weights have tensors.

        Raises:
            ModelFileError: it has; building it could take all memory.
        """
        limit = max(MIN_MEMBERS, tensors)
        for key, value in _entries(self.values):
            if isinstance(value, list) and len(value) > limit:
                text = f"{self.name}: {key}: expected a list of at most {limit} items"
                raise ModelFileError(f"{text} for weights of {tensors} tensors, got {len(value)}")
            counts = _flat(value) if _LAYER_COUNT.search(key) else ()
            for count in counts:
                if isinstance(count, int) and count > limit:
                    text = f"{self.name}: {key}: expected at most {limit}"
                    raise ModelFileError(f"{text} for weights of {tensors} tensors, got {count}")

    def error(self, key: str, expected: str) -> ModelFileError:
        """Return the error for a value that is not the expected one."""
        got = repr(self.values.get(key))[:60] if key in self.values else "nothing"
        return ModelFileError(f"{self.name}: {key}: expected {expected}, got {got}")


def _entries(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a configuration and of those inside it."""
    for key, value in values.items():
        yield key, value
        if isinstance(value, Mapping):
            yield from _entries(value)


def _flat(value: object) -> Iterator[object]:
    if isinstance(value, list):
        for item in value:
            yield from _flat(item)
    else:
        yield value


def read_config(path: Path) -> ConfigFile:
    """Read a configuration file.

    Raises:
        ModelFileError: it is missing, too large, or not a JSON object.
    """
    name = f"{path.parent.name}/{path.name}"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelFileError(f"{name} is too large for a configuration")
        values = json.loads(path.read_text("utf-8"))
    except ModelFileError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{name} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ModelFileError(f"{name} is not a JSON object")
    return ConfigFile(name, values)
