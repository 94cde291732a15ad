"""Settings of every test: no hub, one torch thread, no disk cache, no deadlines.

Where torch is not installed, what needs it is skipped: see tests/pythons.py.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LATENTLOOM_CACHE", "off")
if not Path("/dev/nvidiactl").exists():
    # Triton's interpreter computes its kernels then; read when any library imports Triton.
    os.environ.setdefault("TRITON_INTERPRET", "1")

# A busy machine must not fail a test.
settings.register_profile("latentloom", deadline=None)
settings.load_profile("latentloom")

HAS_TORCH = find_spec("torch") is not None
collect_ignore = [] if HAS_TORCH else ["cli/test_broken_models.py"]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that computes images where torch is not installed."""
    if not HAS_TORCH and item.get_closest_marker("torch") is not None:
        pytest.skip("torch is not installed")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Fail a test that leaves logging turned off: those after it would read empty logs."""
    before = logging.root.manager.disable
    yield
    assert logging.root.manager.disable == before


@pytest.fixture(scope="module", autouse=True)
def _few_objects_to_collect() -> None:
    """Exclude what is alive before a file from collections: an engine that closes starts one.

    With torch, transformers and thousands of tests loaded a collection takes half a second.
    """
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let the end of the process collect all, as it does without tests."""
    gc.unfreeze()
