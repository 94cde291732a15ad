"""Golden files whose tensors are counted as they are read, so that none lies there unread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from safetensors.torch import load_file
from torch import Tensor

from tests.paths import ROOT

FOLDER = ROOT / "tests" / "goldens"


class Goldens(Mapping[str, Tensor]):
    """The tensors of one file by name, or of a folder's files by `file/name`."""

    def __init__(self, place: str) -> None:
        path = FOLDER / place
        files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
        self._tensors: dict[str, Tensor] = {
            f"{file.stem}/{name}" if path.is_dir() else name: tensor
            for file in files
            for name, tensor in load_file(file).items()
        }
        self.unread = set(self._tensors)

    def __getitem__(self, name: str) -> Tensor:
        self.unread.discard(name)
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def assert_all_read(self, request: pytest.FixtureRequest) -> None:
        """To be the last test of a module; skipped where some of its tests were not chosen."""
        here = {item.name for item in request.session.items if item.path == request.path}
        chosen = {name.partition("[")[0] for name in here}
        if not {name for name in vars(request.module) if name.startswith("test_")} <= chosen:
            pytest.skip("only some tests of this file were chosen")
        assert self.unread == set()
