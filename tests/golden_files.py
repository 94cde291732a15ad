"""Golden files that record which of their tensors are read, so that a test finds unread ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from safetensors.torch import load_file
from torch import Tensor

from tests.paths import ROOT

FOLDER = ROOT / "tests" / "goldens"


class Goldens(Mapping[str, Tensor]):
    """The tensors of one file by name, or of a folder's files by `file/name`."""

    def __init__(self, name: str) -> None:
        path = FOLDER / name
        files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
        self._tensors: dict[str, Tensor] = {
            f"{file.stem}/{tensor_name}" if path.is_dir() else tensor_name: tensor
            for file in files
            for tensor_name, tensor in load_file(file).items()
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
        """Assert that all were read, as a module's last test; skip if only some tests run."""
        names = {item.name for item in request.session.items if item.path == request.path}
        selected = {name.partition("[")[0] for name in names}
        if not {name for name in vars(request.module) if name.startswith("test_")} <= selected:
            pytest.skip("only some tests of this file are selected")
        assert self.unread == set()
