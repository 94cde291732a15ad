"""A models folder and an engine for each module of node tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import pytest

import latentloom
from latentloom.diffusion.weights.folders import MODELS_VARIABLE
from latentloom.engine.execution.executor import Engine
from tests.tiny_model import write_tiny_model


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two checkpoints once: `tiny`, and `wide` of another family."""
    folder = tmp_path_factory.mktemp("shelf")
    write_tiny_model(folder / "tiny")
    write_tiny_model(folder / "wide", text_dim=64)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, shelf: Path) -> Iterator[Path]:
    """Create the module's models folder with links to the shared checkpoints."""
    root = copytree(shelf, tmp_path_factory.mktemp("models") / "root")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MODELS_VARIABLE, str(root))
        yield root


@pytest.fixture(scope="module")
def engine(models: Path) -> Iterator[Engine]:
    """Create an engine with all nodes."""
    with Engine(latentloom.registry()) as made:
        yield made
