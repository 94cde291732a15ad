"""Fixtures: a tiny model of the real classes, loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentloom.diffusion.networks.load import Checkpoint, load_checkpoint
from tests.tiny_model import write_tiny_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Checkpoint:
    return load_checkpoint(tiny_folder)
