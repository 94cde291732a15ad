"""Every engine test starts with an empty list of calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from latentloom.engine.execution.executor import Engine
from tests.engine import fakes


@pytest.fixture(autouse=True)
def calls() -> list[str]:
    fakes.calls.clear()
    fakes.gates.clear()
    return fakes.calls


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(fakes.REGISTRY) as made:
        yield made
